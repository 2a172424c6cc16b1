//! Listeners that note who comes by, on an address of this machine that plays the inside of a network.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinHandle;

use crate::runtime;

/// A TCP and a UDP listener. They end when this is dropped.
///
/// What came is told by one word each: the path of an HTTP request, `tls`, `turn-tcp`, `stun`, `turn-udp`, `quic`, `dns`.
pub struct Canary {
    pub tcp: SocketAddr,
    pub udp: SocketAddr,
    /// More TCP listeners, for who only connects, or speaks what is not understood here: `preconnect`, `https`, `wss`.
    pub preconnect: SocketAddr,
    pub https: SocketAddr,
    pub wss: SocketAddr,
    seen: Arc<Mutex<BTreeSet<String>>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Canary {
    /// Listens on free ports of this address.
    ///
    /// # Panics
    /// If the address is none of this machine's.
    pub fn listen(ip: IpAddr) -> Canary {
        let seen: Arc<Mutex<BTreeSet<String>>> = Arc::default();
        let (tcp, udp, silent) = runtime().block_on(async {
            let listener = || TcpListener::bind((ip, 0));
            let silent = futures::future::try_join_all([listener(), listener(), listener()]);
            let bound = futures::future::try_join3(listener(), UdpSocket::bind((ip, 0)), silent);
            bound.await.unwrap_or_else(|error| panic!("{ip}: {error}"))
        });
        let address = |found: std::io::Result<SocketAddr>| found.expect("a bound socket has an address");
        let addresses = (address(tcp.local_addr()), address(udp.local_addr()));
        let (http, packets) = (seen.clone(), seen.clone());
        let mut tasks = vec![
            runtime().spawn(async move {
                while let Ok((stream, _)) = tcp.accept().await {
                    tokio::spawn(answer(stream, http.clone()));
                }
            }),
            runtime().spawn(async move {
                let mut packet = [0; 2048];
                while let Ok(length) = udp.recv(&mut packet).await {
                    note(&packets, kind_of_packet(&packet[..length]));
                }
            }),
        ];
        let touched = ["preconnect", "https", "wss"].into_iter().zip(silent).map(|(word, listener)| {
            let (at, touched) = (address(listener.local_addr()), seen.clone());
            tasks.push(runtime().spawn(async move {
                while let Ok(_stream) = listener.accept().await {
                    note(&touched, word);
                }
            }));
            at
        });
        let [preconnect, https, wss] = touched.collect::<Vec<_>>().try_into().expect("three of them");
        Canary { tcp: addresses.0, udp: addresses.1, preconnect, https, wss, seen, tasks }
    }

    /// Everything that came, each once.
    pub fn seen(&self) -> BTreeSet<String> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn note(seen: &Mutex<BTreeSet<String>>, what: &str) {
    seen.lock().unwrap_or_else(PoisonError::into_inner).insert(what.to_owned());
}

async fn answer(mut stream: TcpStream, seen: Arc<Mutex<BTreeSet<String>>>) {
    let mut head = Vec::new();
    let reading = async {
        while !head.ends_with(b"\r\n\r\n") && head.len() < 8192 {
            head.push(stream.read_u8().await?);
            if matches!(head[0], 0x00 | 0x16) {
                break;
            }
        }
        Ok::<_, std::io::Error>(())
    };
    let _ = tokio::time::timeout(Duration::from_secs(10), reading).await;
    match head.first() {
        Some(0x16) => return note(&seen, "tls"),
        Some(0x00) => return note(&seen, "turn-tcp"),
        _ => {}
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    if let Some(target) = text.split(' ').nth(1) {
        note(&seen, target.split('?').next().unwrap_or(target).trim_start_matches('/'));
    }
    let answer = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\naccess-control-allow-origin: *\r\ncontent-length: 2\r\n\
                  connection: close\r\n\r\nok";
    let _ = stream.write_all(answer.as_bytes()).await;
}

fn kind_of_packet(packet: &[u8]) -> &'static str {
    match packet {
        [0x00, 0x01, ..] => "stun",
        [0x00, 0x03, ..] => "turn-udp",
        [first, ..] if first & 0xc0 == 0xc0 => "quic",
        _ => "udp",
    }
}

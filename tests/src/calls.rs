//! What a program asks the kernel to do on the network: a view that owes nothing to what our own log says.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// Connecting a UDP socket sends nothing: Chromium connects to these to learn which of its own addresses leads outside.
const PROBES: [&str; 2] = ["8.8.8.8", "2001:4860:4860::8888"];

/// Services of the system that look names up for who asks them.
const RESOLVERS: [&str; 2] = ["/nscd/", "io.systemd.Resolve"];

/// A program that starts another one under strace, with all processes that this one starts.
pub struct Traced {
    folder: TempDir,
    program: PathBuf,
}

/// Something that left a process for the network, or was meant to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// A connection, or a UDP socket that is made ready for one peer.
    Connect(SocketAddr),
    /// A packet.
    Packet,
    /// A question to a service of the system that looks names up.
    LookUp,
}

impl Traced {
    /// # Panics
    /// If there is no room for a small file.
    pub fn new(program: &Path) -> Traced {
        let folder = tempfile::tempdir().expect("a folder");
        // Its name says which build it is, as the real one's does.
        let wrapper = folder.path().join(program.file_name().expect("a program has a name"));
        let script = format!(
            "#!/bin/sh\nexec strace -D -f -yy -s 0 --seccomp-bpf -e trace=connect,sendto,sendmsg,sendmmsg \
             -o '{}/trace.'$$ -- '{}' \"$@\"\n",
            folder.path().display(),
            program.display()
        );
        std::fs::write(&wrapper, script).expect("room on the disk");
        std::fs::set_permissions(&wrapper, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
        Traced { folder, program: wrapper }
    }

    /// What to start in the place of the program.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Every call so far that reaches for the network, each once.
    ///
    /// # Panics
    /// If nothing was ever traced, so that nobody takes a blind eye for a clean record.
    pub fn seen(&self) -> BTreeSet<Call> {
        let entries = std::fs::read_dir(self.folder.path()).expect("it is ours").flatten();
        let traces: Vec<PathBuf> = entries
            .map(|entry| entry.path())
            .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("trace.")))
            .collect();
        let texts: Vec<String> = traces
            .iter()
            .map(|path| String::from_utf8_lossy(&std::fs::read(path).expect("it is ours")).into_owned())
            .collect();
        assert!(texts.iter().any(|text| text.contains("AF_UNIX") || text.contains("<UNIX")), "strace has seen nothing");
        texts.iter().flat_map(|text| calls(text)).collect()
    }
}

impl Call {
    /// Whether a browser has no business with it whose only way out is a proxy at one of these ports of 127.0.0.1.
    pub fn is_astray(&self, proxies: &BTreeSet<u16>) -> bool {
        match self {
            Call::Connect(to) => !(to.ip() == IpAddr::from([127, 0, 0, 1]) && proxies.contains(&to.port())),
            Call::Packet | Call::LookUp => true,
        }
    }
}

/// Reads what `strace -f -yy` writes. What begins here and ends in a later line has its arguments in the first.
fn calls(trace: &str) -> impl Iterator<Item = Call> + '_ {
    trace.lines().filter_map(|line| {
        let (_, call) = line.trim_start().split_once(' ')?;
        let (name, arguments) = call.trim_start().split_once('(')?;
        let socket = arguments.split('<').nth(1).unwrap_or_default();
        let is_udp = socket.starts_with("UDP");
        match name {
            "connect" if RESOLVERS.iter().any(|name| arguments.contains(name)) => Some(Call::LookUp),
            "connect" => {
                let to = address(arguments)?;
                let is_probe = is_udp && PROBES.contains(&to.ip().to_string().as_str());
                (!is_probe).then_some(Call::Connect(to))
            }
            "sendto" | "sendmsg" | "sendmmsg" if is_udp => Some(Call::Packet),
            _ => None,
        }
    })
}

/// The address of the peer; none for what is no address of the Internet.
fn address(arguments: &str) -> Option<SocketAddr> {
    let after = |text: &str| arguments.split_once(text).map(|(_, rest)| rest);
    let port = after("port=htons(")?.split_once(')')?.0.parse().ok()?;
    let ip = after("inet_addr(\"").or_else(|| after("inet_pton(AF_INET6, \""))?.split_once('"')?.0.parse().ok()?;
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Vec<Call> {
        calls(line).collect()
    }

    #[test]
    fn what_leaves_is_told_from_what_does_not() {
        let to = |text: &str| vec![Call::Connect(text.parse().unwrap())];
        let v4 = r#"7  connect(16<TCP:[5]>, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("10.0.0.5")}, 16) = 0"#;
        let v6 = r#"7  connect(16<UDPv6:[5]>, {sa_family=AF_INET6, sin6_port=htons(53), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, "fd00::1", &sin6_addr), sin6_scope_id=0}, 28 <unfinished ...>"#;
        assert_eq!((read(v4), read(v6)), (to("10.0.0.5:80"), to("[fd00::1]:53")));
        let packet = r#"7  sendto(18<UDP:[0.0.0.0:43294]>, ""..., 20, 0, {sa_family=AF_INET, sin_port=htons(3478), sin_addr=inet_addr("10.0.0.5")}, 16) = 20"#;
        assert_eq!(read(packet), [Call::Packet]);
        assert_eq!(read("7  sendmmsg(4<UDPv6:[5]> <unfinished ...>"), [Call::Packet]);
        let nscd =
            r#"7  connect(4<UNIX-STREAM:[5]>, {sa_family=AF_UNIX, sun_path="/var/run/nscd/socket"}, 110) = -1 ENOENT"#;
        assert_eq!(read(nscd), [Call::LookUp]);
        for nothing in [
            r#"7  connect(4<UNIX-STREAM:[5]>, {sa_family=AF_UNIX, sun_path="/run/dbus/system_bus_socket"}, 30) = 0"#,
            r#"7  sendmsg(4<UNIX-STREAM:[5->6]>, {msg_name=NULL}, MSG_NOSIGNAL) = 8"#,
            r#"7  sendto(4<TCP:[127.0.0.1:1->127.0.0.1:2]>, ""..., 9, MSG_NOSIGNAL, NULL, 0) = 9"#,
            r#"7  connect(16<UDP:[5]>, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("8.8.8.8")}, 16) = 0"#,
            "7  +++ exited with 0 +++",
        ] {
            assert_eq!(read(nothing), [], "{nothing}");
        }
        let tcp = r#"7  connect(16<TCP:[5]>, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("8.8.8.8")}, 16) = 0"#;
        assert_eq!(read(tcp), to("8.8.8.8:53"), "a connection is more than a probe");
    }

    #[test]
    fn only_a_proxy_is_no_stray() {
        let proxies = BTreeSet::from([4000]);
        let is_astray = |text: &str| Call::Connect(text.parse().unwrap()).is_astray(&proxies);
        assert!(!is_astray("127.0.0.1:4000"));
        assert!(is_astray("127.0.0.1:80") && is_astray("127.0.0.2:4000") && is_astray("[::1]:4000"));
        assert!(Call::Packet.is_astray(&proxies) && Call::LookUp.is_astray(&proxies));
    }
}

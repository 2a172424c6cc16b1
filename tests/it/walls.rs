//! The walls of `deploy/` around the service: they keep out what its own filter refuses, and no more.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::process::{Command, Stdio};

use snaphook_shared::target::{NativeUrlParser, ParseUrl, Subnet};
use snaphook_tests::repository;

fn deploy(name: &str) -> String {
    std::fs::read_to_string(repository("deploy").join(name)).unwrap()
}

/// The literal addresses of the corpus, and whether they are public.
fn literals() -> BTreeMap<IpAddr, bool> {
    let corpus = std::fs::read_to_string(repository("shared/golden/ssrf_corpus.tsv")).unwrap();
    let rows = corpus.lines().skip(1).filter_map(|row| {
        let mut columns = row.split('\t');
        let (url, verdict) = (columns.next()?.replace("\\\\", "\\"), columns.next()?);
        Some((NativeUrlParser.parse(&url)?.host.address()?.to_canonical(), verdict == "allow"))
    });
    rows.collect()
}

/// Every range that is written in a text.
fn ranges(text: &str) -> Vec<Subnet> {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    let words = lines.flat_map(|line| line.split(|c: char| c.is_whitespace() || c == ',' || c == '='));
    words.filter_map(|word| word.parse().ok()).collect()
}

#[test]
fn the_walls_know_what_the_filter_refuses() {
    let service = deploy("snaphook.service");
    let denied: String =
        service.lines().filter(|line| line.starts_with("IPAddressDeny=")).collect::<Vec<_>>().join("\n");
    let wall = deploy("network.nft");
    let sets = &wall[wall.find("set inside4").unwrap()..wall.find("chain forward").unwrap()];
    let literals = literals();
    assert!(literals.values().filter(|is_public| **is_public).count() >= 10 && literals.len() >= 40, "{literals:?}");
    for (what, text, leaves_loopback) in [("snaphook.service", denied.as_str(), true), ("network.nft", sets, false)] {
        let ranges = ranges(text);
        for (address, is_public) in &literals {
            let is_denied = ranges.iter().any(|range| range.contains(*address));
            let is_open = *is_public || (leaves_loopback && address.is_loopback() && address.is_ipv4());
            assert_eq!(is_denied, !is_open, "{what}: {address}");
        }
    }
}

/// As root of its own, on a machine of its own: the network that the unit makes, and beyond it a world where each address
/// answers.
const WORLD: &str = r#"
set -e
wall=$1 unit=$2; shift 2
mount -t tmpfs tmpfs /run
ip link set lo up
sed -n 's/^ExecStart=//p' "$unit" | sed "s#/etc/snaphook/network.nft#$wall#" > /run/steps
sh -e /run/steps
ip netns add world
ip link add here type veth peer name there netns world
ip address add 192.0.2.1/24 dev here
ip link set here up
ip -n world link set lo up
ip -n world address add 192.0.2.2/24 dev there
ip -n world link set there up
for address in "$@"; do
    ip -n world address add "$address/32" dev lo
    ip route add "$address/32" via 192.0.2.2
done
# One listener out there, and one on this machine.
listen="require('net').createServer((socket) => socket.end()).listen(80, '0.0.0.0', () => require('fs').writeFileSync(process.argv[1], ''))"
nsenter --net=/run/netns/world node -e "$listen" /run/world & world=$!
node -e "$listen" /run/machine & machine=$!
trap 'kill $world $machine' EXIT
until [ -e /run/world ] && [ -e /run/machine ]; do sleep 0.05; done
for address in "$@" 10.119.0.1 192.0.2.1; do
    for from in snaphook machine; do
        enter=""; [ $from = machine ] || enter="nsenter --net=/run/netns/$from"
        $enter node -e "
          const socket = require('net').connect(80, '$address');
          socket.setTimeout(3000, () => socket.destroy(new Error('silence')));
          socket.on('connect', () => { console.log('$from $address open'); socket.destroy(); });
          socket.on('error', (error) => console.log('$from $address', error.code ?? error.message));"
    done
done
"#;

#[test]
fn the_network_of_the_unit_leads_to_public_addresses_alone() {
    let alone = ["--user", "--map-root-user", "--net", "--mount"];
    // Debian keeps nft and ip out of the PATH of all but root.
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap());
    let can = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).env("PATH", &path).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    // What a machine for tests has (deploy/setup.sh), but for the right to have a network of one's own.
    if !can("unshare", &[&alone[..], &["nft", "list", "ruleset"]].concat()) {
        assert!(can("nft", &["--version"]), "nft is missing: run `sh deploy/setup.sh test`");
        return;
    }
    let (public, inside) =
        (["93.184.216.34", "1.1.1.1"], ["10.0.0.5", "169.254.169.254", "168.63.129.16", "192.168.1.1"]);
    let output = Command::new("unshare")
        .args(alone)
        .args(["sh", "-c", WORLD, "sh"])
        .args([repository("deploy/network.nft"), repository("deploy/snaphook-network.service")])
        .args(public.iter().chain(&inside))
        .env("PATH", &path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let is_open = |from: &str, to: &str| said.lines().any(|line| line == format!("{from} {to} open"));
    for address in public {
        assert!(is_open("snaphook", address), "{address}:\n{said}");
    }
    // They are there for whoever is not behind the wall, and so is what listens on this machine.
    for address in inside.iter().chain(&["10.119.0.1", "192.0.2.1"]) {
        assert!(is_open("machine", address) && !is_open("snaphook", address), "{address}:\n{said}");
    }
}

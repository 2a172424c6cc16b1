# A PostgreSQL server that ends with whoever started this: when standard input ends, by whatever cause.
# Arguments: the folder of its programs, a folder for it, and more for the server. Each line of input is an order, which is
# answered by a line.
set -eu
programs=$1 folder=$2
shift 2
server=
# However this ends, the server ends before it and its folder goes; what was in its log is told if it went wrong.
trap '[ $? = 0 ] || cat "$folder/log" >&2; end INT; rm -rf "$folder"' EXIT
trap 'exit 1' HUP INT TERM

end() {
    [ -z "$server" ] || kill -"$1" "$server" 2>/dev/null || true
    [ -z "$server" ] || wait "$server" || true
    server=
}
"$programs/initdb" -D "$folder/data" -U snaphook -A trust -E UTF8 --no-locale >"$folder/log" 2>&1

# Gets the arguments for the server.
begin() {
    # fsync stays on: what is tested is what runs.
    "$programs/postgres" -D "$folder/data" -k "$folder" -c listen_addresses= -c max_connections=300 \
        "$@" >>"$folder/log" 2>&1 </dev/null &
    server=$!
    until "$programs/pg_isready" -q -h "$folder"; do
        kill -0 "$server"
        sleep 0.05
    done
}

begin "$@"
echo ready
while read -r order; do
    case $order in
    crash) end QUIT ;;
    stop) end INT ;;
    start) begin "$@" ;;
    esac
    echo "$order"
done

#!/bin/bash
# What a TLS handshake costs, beside nginx on the same core: `loadtest/handshakes.sh target/release/tidegate [rounds] [seconds]`. Each line is a connection
# with one request; both servers are asked in turns, and what is told is CPU time, which bears other work on the machine better than a rate does.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin
binary=${1:?the path of a built tidegate}
rounds=${2:-5}
seconds=${3:-2}
results=loadtest/results/handshakes-$(date +%Y%m%d-%H%M%S).md
dir=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM
mkdir -p loadtest/results

openssl ecparam -name prime256v1 -genkey -noout -out "$dir/ecdsa.key" 2>/dev/null
openssl genrsa -out "$dir/rsa.key" 2048 2>/dev/null
for key in ecdsa rsa; do
    openssl req -x509 -new -key "$dir/$key.key" -days 30 -subj /CN=localhost -addext subjectAltName=DNS:localhost -out "$dir/$key.pem" 2>/dev/null
done

cat >"$dir/nginx.conf" <<NGINX
daemon off; worker_processes 1; pid $dir/pid; error_log $dir/error.log;
events { worker_connections 4096; }
http {
    access_log off;
    client_body_temp_path $dir/body; proxy_temp_path $dir/proxy; fastcgi_temp_path $dir/fastcgi; uwsgi_temp_path $dir/uwsgi; scgi_temp_path $dir/scgi;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_session_tickets on;
    server { listen 127.0.0.1:18443 ssl; ssl_certificate $dir/ecdsa.pem; ssl_certificate_key $dir/ecdsa.key; location / { return 200 here; } }
    server { listen 127.0.0.1:18444 ssl; ssl_certificate $dir/rsa.pem; ssl_certificate_key $dir/rsa.key; location / { return 200 here; } }
}
NGINX
cat >"$dir/tidegate.yaml" <<YAML
server:
  workers: 1
  listeners:
    - { address: 127.0.0.1:19443, tls: { certificates: [{ cert: ecdsa.pem, key: ecdsa.key }] } }
    - { address: 127.0.0.1:19444, tls: { certificates: [{ cert: rsa.pem, key: rsa.key }] } }
admin: { address: 127.0.0.1:19091 }
access_log: { to: /dev/null }
routes: [{ name: here, reply: { text: here } }]
YAML
taskset -c 0 nginx -p "$dir" -c "$dir/nginx.conf" 2>/dev/null &
pids+=($!)
taskset -c 0 "$binary" run -c "$dir/tidegate.yaml" >"$dir/said" 2>&1 &
pids+=($!)
for port in 18443 18444 19443 19444; do
    for _ in $(seq 100); do curl -sk -o /dev/null "https://localhost:$port/" && continue 2; sleep 0.1; done
    echo "nobody answers at port $port" >&2
    cat "$dir/said" "$dir/error.log" >&2
    exit 1
done
nginx=$(pgrep -P "${pids[0]}")
tidegate=${pids[1]}

# CPU time of a process, in microseconds.
cpu() { cat /proc/"$1"/task/*/schedstat | awk '{ sum += $1 } END { printf "%d\n", sum / 1000 }'; }

# Microseconds for each connection.
once() {
    local process=$1 port=$2 before count
    shift 2
    before=$(cpu "$process")
    count=$(taskset -c 1 openssl s_time -connect "localhost:$port" -www / -time "$seconds" "$@" 2>/dev/null | awk '/connections in .* real seconds/ { print $1 }')
    echo "$((($(cpu "$process") - before) / count))"
}

middle() { sort -n | awk '{ all[NR] = $1 } END { print all[int((NR + 1) / 2)] }'; }

{
    echo "$("$binary" --version), $(nginx -v 2>&1 | cut -d / -f 2) nginx, $(openssl version | cut -d ' ' -f 2) openssl, median of $rounds rounds, $(date -u +%FT%TZ)"
    echo
    echo "| handshake | tidegate | nginx | ratio | tidegate per CPU second |"
    echo "|---|---|---|---|---|"
} | tee "$results"
for kind in "ecdsa 3 -tls1_3 -new" "ecdsa 3 -tls1_3 -reuse" "ecdsa 3 -tls1_2 -new" "ecdsa 3 -tls1_2 -reuse" "rsa 4 -tls1_3 -new" "rsa 4 -tls1_2 -new"; do
    read -r key port options <<<"$kind"
    rm -f "$dir/tidegate" "$dir/nginx"
    for _ in $(seq "$rounds"); do
        # shellcheck disable=SC2086 # two words
        once "$tidegate" "1944$port" $options >>"$dir/tidegate"
        # shellcheck disable=SC2086
        once "$nginx" "1844$port" $options >>"$dir/nginx"
    done
    ours=$(middle <"$dir/tidegate") theirs=$(middle <"$dir/nginx")
    awk -v name="$key $options" -v ours="$ours" -v theirs="$theirs" \
        'BEGIN { printf "| %s | %d µs | %d µs | %.2f | %d |\n", name, ours, theirs, ours / theirs, 1e6 / ours }' | tee -a "$results"
done

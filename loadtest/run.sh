#!/bin/sh
# Measures a built gateway on this machine: `loadtest/run.sh target/release/tidegate [seconds] [connections]`. Client, gateway and service share its
# cores, so the numbers are for comparing one build with another, on the same machine, and for nothing else.
set -eu
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin
binary=${1:?the path of a built tidegate}
seconds=${2:-10}
connections=${3:-64}
results=loadtest/results/$(date +%Y%m%d-%H%M%S).md
dir=$(mktemp -d)
pids=
trap 'kill $pids 2>/dev/null || true; rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM
mkdir -p loadtest/results

cat >"$dir/nginx.conf" <<NGINX
daemon off; master_process off; pid $dir/pid; error_log $dir/error.log;
events { worker_connections 4096; }
http {
    access_log off; keepalive_requests 1000000000;
    client_body_temp_path $dir/body; proxy_temp_path $dir/proxy; fastcgi_temp_path $dir/fastcgi; uwsgi_temp_path $dir/uwsgi; scgi_temp_path $dir/scgi;
    server { listen 127.0.0.1:18081; location / { default_type application/json; return 200 '{"here":true}'; } }
}
NGINX
nginx -p "$dir" -c "$dir/nginx.conf" 2>/dev/null &
pids=$!
"$binary" run -c loadtest/tidegate.yaml >"$dir/said" 2>&1 &
gateway=$!
pids="$pids $gateway"

# Waits until it answers as it should: a case that is answered with an error would look fast.
ready() {
    for _ in $(seq 100); do
        [ "$(curl -s -o /dev/null -w '%{http_code}' "$@")" = 200 ] && return
        sleep 0.1
    done
    echo "this does not answer 200: $*" >&2
    cat "$dir/said" >&2
    exit 1
}

measure() {
    name=$1
    shift
    ready "$@"
    wrk -t 2 -c "$connections" -d "${seconds}s" --latency "$@" >"$dir/wrk"
    if grep -E 'Non-2xx|Socket errors' "$dir/wrk" >&2; then echo "$name: not every request was answered well" >&2; fi
    awk -v name="$name" '
        /50%/ { p50 = $2 } /99%/ { p99 = $2 } /Requests\/sec/ { rate = $2 }
        END { printf "| %s | %s | %s | %s |\n", name, rate, p50, p99 }' "$dir/wrk" | tee -a "$results"
}

{
    echo "$("$binary" --version), $(nproc) cores, $connections connections, $seconds s each, $(date -u +%FT%TZ)"
    echo
    echo "| case | requests/s | p50 | p99 |"
    echo "|---|---|---|---|"
} | tee "$results"
measure "nginx itself, without the gateway" http://127.0.0.1:18081/
measure "the gateway's own reply" http://127.0.0.1:18080/reply
measure "forwarded" http://127.0.0.1:18080/plain
measure "forwarded, five policies" -H 'X-API-Key: demo-key' http://127.0.0.1:18080/policies/42
{
    echo
    echo "Most memory of the gateway: $(awk '/VmHWM/ { print $2, $3 }' "/proc/$gateway/status")"
} | tee -a "$results"

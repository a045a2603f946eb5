#!/bin/bash
# What one composed answer of three parts of 1 KB costs, beside three requests for the same through the same gateway, and how much longer it takes than its
# slowest part: `loadtest/composed.sh target/release/tidegate [rounds] [seconds]`. The gateway has one core, client and services the other; all kinds are
# asked in turns, in one run.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin
binary=${1:?the path of a built tidegate}
rounds=${2:-5}
seconds=${3:-3}
results=loadtest/results/composed-$(date +%Y%m%d-%H%M%S).md
dir=$(mktemp -d)
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true; rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM
mkdir -p loadtest/results

# 1,024 bytes of JSON as services send it: short members of all kinds.
for name in user orders preferences; do
    python3 - "$name" >"$dir/$name.json" <<'PYTHON'
import json, sys
rows = [{"id": n, "name": f"{sys.argv[1]} {n}", "price": n * 1.25, "open": n % 2 == 0, "note": None} for n in range(13)]
text = json.dumps({"of": sys.argv[1], "rows": rows}, separators=(",", ":"))
text = text[:-1] + ',"fill":"' + "x" * (1024 - len(text) - len(',"fill":""')) + '"}'
assert len(json.dumps(json.loads(text), separators=(",", ":"))) == 1024, len(text)
print(text, end="")
PYTHON
done
cat >"$dir/nginx.conf" <<NGINX
daemon off; master_process off; pid $dir/pid; error_log $dir/error.log;
events { worker_connections 4096; }
http {
    access_log off; keepalive_requests 1000000000; default_type application/json; open_file_cache max=10;
    client_body_temp_path $dir/body; proxy_temp_path $dir/proxy; fastcgi_temp_path $dir/fastcgi; uwsgi_temp_path $dir/uwsgi; scgi_temp_path $dir/scgi;
    server { listen 127.0.0.1:18081; root $dir; }
}
NGINX
cat >"$dir/slow.yaml" <<YAML
server: { workers: 1, listeners: [{ address: 127.0.0.1:18082 }] }
admin: { address: 127.0.0.1:19092 }
access_log: { to: /dev/null }
services: { slow: { mock: { delay: 20ms, json: { slow: true } } } }
routes: [{ name: slow, to: slow }]
YAML
cat >"$dir/tidegate.yaml" <<YAML
server: { workers: 1, listeners: [{ address: 127.0.0.1:18080 }] }
admin: { address: 127.0.0.1:19090 }
access_log: { to: /dev/null } # lines are made and written, as in production
services:
  nginx: { targets: ["http://127.0.0.1:18081"] }
  slow: { targets: ["http://127.0.0.1:18082"] }
routes:
  - name: separate
    match: { path: "/separate/{name}" }
    to: nginx
    path: "/{name}"
  - name: composed
    match: { path: /composed }
    compose:
      parts:
        user: { get: "nginx:/user.json", required: true }
        orders: { get: "nginx:/orders.json" }
        preferences: { get: "nginx:/preferences.json" }
  - name: slow
    match: { path: /slow }
    to: slow
  - name: composed-slow
    match: { path: /composed-slow }
    compose:
      parts:
        user: { get: "nginx:/user.json", required: true }
        orders: { get: "nginx:/orders.json" }
        slow: { get: "slow:/slow" }
YAML
cat >"$dir/three.lua" <<'LUA'
local names, at = { "user", "orders", "preferences" }, 0
function request()
    at = at % 3 + 1
    return wrk.format("GET", "/separate/" .. names[at] .. ".json")
end
LUA
taskset -c 1 nginx -p "$dir" -c "$dir/nginx.conf" 2>/dev/null &
pids+=($!)
taskset -c 1 "$binary" run -c "$dir/slow.yaml" >"$dir/slow.said" 2>&1 &
pids+=($!)
taskset -c 0 "$binary" run -c "$dir/tidegate.yaml" >"$dir/said" 2>&1 &
pids+=($!)
tidegate=${pids[2]}
for path in separate/user.json composed slow composed-slow; do
    for _ in $(seq 100); do [ "$(curl -s -o /dev/null -w '%{http_code}' "http://127.0.0.1:18080/$path")" = 200 ] && continue 2; sleep 0.1; done
    echo "/$path is not answered with 200" >&2
    cat "$dir/said" "$dir/slow.said" "$dir/error.log" >&2
    exit 1
done

# CPU time of the gateway, in microseconds.
cpu() { cat /proc/"$tidegate"/task/*/schedstat | awk '{ sum += $1 } END { printf "%d\n", sum / 1000 }'; }
middle() { sort -n | awk '{ all[NR] = $1 } END { print all[int((NR + 1) / 2)] }'; }
# CPU microseconds for each request.
cost() {
    local before
    before=$(cpu)
    taskset -c 1 wrk -t 1 -c 64 -d "${seconds}s" "$@" >"$dir/wrk"
    if grep -E 'Non-2xx|Socket errors' "$dir/wrk" >&2; then exit 1; fi
    awk -v used="$(($(cpu) - before))" '/requests in/ { printf "%.1f\n", used / $1 }' "$dir/wrk"
}
# Microseconds that each request took, 200 a second over 10 connections, one after the other: h2load alone would send ten at the same moment.
times() {
    local all=()
    for number in $(seq 10); do
        taskset -c 1 h2load --h1 -t 1 -c 1 --rps 20 -n $((seconds * 20)) --log-file "$1.$number" "http://127.0.0.1:18080/$2" >/dev/null &
        all+=($!)
        sleep 0.005
    done
    wait "${all[@]}"
    cat "$1".* >"$1"
    rm "$1".*
}
part() { sort -n "$1" | awk -v part="$2" '{ all[NR] = $1 } END { print all[int(NR * part + 0.999999)] }'; }

for _ in $(seq "$rounds"); do
    cost -s "$dir/three.lua" http://127.0.0.1:18080/ >>"$dir/separate"
    cost http://127.0.0.1:18080/composed >>"$dir/composed"
    for path in slow composed-slow; do
        times "$dir/times" "$path"
        awk '$2 == 200 { print $3 }' "$dir/times" >>"$dir/took-$path"
        rm "$dir/times"
    done
done
{
    echo "$("$binary" --version), $(nginx -v 2>&1 | cut -d / -f 2) nginx, median of $rounds rounds of $seconds s, $(date -u +%FT%TZ)"
    echo
    echo "| CPU of the gateway | three requests | one composed of the three | ratio |"
    echo "|---|---|---|---|"
    awk -v separate="$(middle <"$dir/separate")" -v composed="$(middle <"$dir/composed")" \
        'BEGIN { printf "| 64 connections, parts of 1 KB | %.1f µs | %.1f µs | %.2f |\n", 3 * separate, composed, composed / separate / 3 }'
    echo
    echo "| 200 requests a second, the slowest part waits 20 ms | p50 | p90 | p99 |"
    echo "|---|---|---|---|"
    for path in slow composed-slow; do
        echo "| /$path, $(wc -l <"$dir/took-$path") times | $(part "$dir/took-$path" 0.5) µs | $(part "$dir/took-$path" 0.9) µs | $(part "$dir/took-$path" 0.99) µs |"
    done
} | tee "$results"

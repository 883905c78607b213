# What tools/s3-rgw and tools/s3-minio share: arguments, processes, ports, signed requests. Sourced, not run.
#
# Each of them sets TOOL and defines NAMES (its daemons, the S3 gateway first), default_state, tool_start, tool_stop
# and tool_usage before it calls main "$@". Everything lies in DIR: state (KEY=VALUE lines), run/NAME.pid, log/.

set -uo pipefail
umask 077
export LC_ALL=C
PATH=$PATH:/usr/sbin:/sbin

readonly ACCESS_KEY=ASHLARTESTACCESSKEY1          # fixed keys for tests on loopback, no secret
readonly SECRET_KEY=ashlar/test/secret/key/not/a/secret/0001
readonly REGION=us-east-1

say() { printf '%s: %s\n' "$TOOL" "$*" >&2; }
die() { say "$*"; exit 1; }

usage() {
    tool_usage
    cat <<USAGE
verbs
  start            start what does not run, wait until a signed request is answered
  env              print export AWS_ENDPOINT_URL=... and the keys, for eval
  bucket NAME      create a bucket, or find that it is there
  status           what runs: pid and resident memory, endpoints; 0 if S3 answers, else 3
  stop [--kill]    stop the gateway (with SIGKILL): connections are refused, the data stay
  restart [--kill] stop and start over the same data
  destroy          stop everything and remove the folder

options
  --dir DIR        where everything lies (default \${XDG_RUNTIME_DIR:-/tmp}/$TOOL)
  --port N         http port; 0, the default: a free one, kept in DIR
  --timeout S      start: give up after S seconds (60)
USAGE
}

# ---------------------------------------------------------------- state

state_get() { [ -f "$DIR/state" ] && sed -n "s/^$1=//p" "$DIR/state" | tail -n 1; }

state_set() { # KEY VALUE
    { grep -v "^$1=" "$DIR/state" 2>/dev/null; printf '%s=%s\n' "$1" "$2"; } >"$DIR/state.new"
    mv "$DIR/state.new" "$DIR/state"
}

need_state() { [ -f "$DIR/state" ] || die "nothing in $DIR: $TOOL start first"; }

# ---------------------------------------------------------------- processes we started

# A process is known by its pid, its start time and the boot it belongs to, so that a recycled pid is never taken
# for ours.
ident() {
    local stat rest
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    rest=${stat##*) }
    # shellcheck disable=SC2086
    set -- "$1" $rest
    [ "$2" != Z ] || return 1
    printf '%s %s %s\n' "$1" "${21}" "$(cat /proc/sys/kernel/random/boot_id)"
}

pid_of() { # prints the pid if the daemon we recorded runs
    local want
    want=$(cat "$DIR/run/$1.pid" 2>/dev/null) || return 1
    [ -n "$want" ] && [ "$(ident "${want%% *}")" = "$want" ] && printf '%s\n' "${want%% *}"
}

launch() { # NAME PROGRAM ARGS...
    local name=$1 pid id
    shift
    printf -- '---- %s %s\n' "$(date -u +%FT%TZ)" "$*" >>"$DIR/log/$name.out"
    (
        cd "$DIR" || exit 1
        exec 9>&-
        exec setsid "$@" </dev/null >>"$DIR/log/$name.out" 2>&1
    ) &
    pid=$!
    disown
    id=$(ident "$pid") || return 1
    printf '%s\n' "$id" >"$DIR/run/$name.pid"
}

halt() { # NAME [kill]
    local name=$1 pid i
    if pid=$(pid_of "$name"); then
        if [ "${2:-}" = kill ]; then
            kill -KILL "$pid" 2>/dev/null
        else
            kill -TERM "$pid" 2>/dev/null
            kill -CONT "$pid" 2>/dev/null
        fi
        for ((i = 0; i < 200; i++)); do
            pid_of "$name" >/dev/null || break
            [ "$i" -ne 150 ] || { say "$name ($pid) ignores SIGTERM: SIGKILL"; kill -KILL "$pid" 2>/dev/null; }
            sleep 0.1
        done
        ! pid_of "$name" >/dev/null || die "$name ($pid) does not go away"
    fi
    rm -f "$DIR/run/$name.pid"
}

fail() { # NAME WORDS: the end of its logs, exit 1
    local name=$1 file
    shift
    say "$*"
    for file in "$DIR/log/$name.out" "$DIR"/log/{,client.}"$name"{,.*}.log; do
        [ -s "$file" ] || continue
        say "last lines of $file:"
        tail -n 25 "$file" | cut -c 1-400 >&2
    done
    exit 1
}

alive_or_fail() { pid_of "$1" >/dev/null || fail "$1" "$1 died"; }

lock() {
    mkdir -p "$(dirname "$DIR")" || exit 1
    exec 9>>"$DIR.lock" || die "cannot write $DIR.lock"
    flock -w 120 9 || die "another $TOOL has held $DIR.lock for two minutes"
}

# ---------------------------------------------------------------- ports

listening() { # is anything listening on this port?
    local hex
    hex=$(printf ':%04X' "$1")
    cat /proc/net/tcp /proc/net/tcp6 2>/dev/null |
        awk -v p="$hex" '$4 == "0A" && substr($2, length($2) - 4) == p { found = 1 } END { exit !found }'
}

free_port() { # below the ephemeral range, not one of those given
    local i port
    for ((i = 0; i < 200; i++)); do
        port=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
        case " $* " in *" $port "*) continue ;; esac
        listening "$port" || { printf '%s\n' "$port"; return; }
    done
    die "no free port"
}

choose_port() { # the one asked for, else the one kept, else a free one
    local port=$o_port
    [ "${port:-0}" -ne 0 ] || port=$(state_get port)
    [ -n "$port" ] || port=$(free_port)
    state_set port "$port"
}

# ---------------------------------------------------------------- talking to it

readonly EMPTY_SHA256=e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855

s3() { # METHOD PATH: prints the status; the body goes to DIR/run/answer
    curl -q -sS --noproxy '*' -m "${S3_WAIT:-10}" -o "$DIR/run/answer" -w '%{http_code}' -X "$1" \
        --aws-sigv4 "aws:amz:$REGION:s3" --user "$ACCESS_KEY:$SECRET_KEY" \
        -H "x-amz-content-sha256: $EMPTY_SHA256" \
        "http://127.0.0.1:$(state_get port)$2" 2>"$DIR/run/curl.err"
}

answers() { [ "$(S3_WAIT=${1:-5} s3 GET /)" = 200 ]; }

wait_s3() {
    local name
    until answers 3; do
        for name in "${NAMES[@]}"; do alive_or_fail "$name"; done
        [ "$SECONDS" -lt "$deadline" ] || {
            say "last answer: $(cat "$DIR/run/curl.err") $(head -c 300 "$DIR/run/answer" 2>/dev/null)"
            fail "${NAMES[0]}" "no signed request was answered within $o_timeout s"
        }
        sleep 0.1
    done
}

# ---------------------------------------------------------------- verbs

do_start() {
    local began=${EPOCHREALTIME/./} ms
    deadline=$((SECONDS + o_timeout))
    [ -e "$DIR/.$TOOL" ] || [ -z "$(ls -A "$DIR" 2>/dev/null)" ] ||
        die "$DIR is not empty and was not made by $TOOL"
    mkdir -p "$DIR/run" "$DIR/log" || exit 1
    touch "$DIR/.$TOOL"
    tool_start
    wait_s3
    ms=$(((${EPOCHREALTIME/./} - began) / 1000))
    say "$(printf 'http://127.0.0.1:%s, ready after %d.%03d s' "$(state_get port)" $((ms / 1000)) $((ms % 1000)))"
}

do_env() {
    need_state
    printf 'export AWS_ENDPOINT_URL=http://127.0.0.1:%s\n' "$(state_get port)"
    printf 'export AWS_ACCESS_KEY_ID=%s\nexport AWS_SECRET_ACCESS_KEY=%s\n' "$ACCESS_KEY" "$SECRET_KEY"
    printf 'export AWS_REGION=%s\nexport AWS_DEFAULT_REGION=%s\n' "$REGION" "$REGION"
    [ -z "$(state_get tls_port)" ] || {
        printf 'export AWS_CA_BUNDLE=%s\n' "$DIR/tls/ca.pem"
        printf 'export S3_TLS_URL=https://127.0.0.1:%s\n' "$(state_get tls_port)"
    }
}

do_bucket() {
    [[ $o_bucket =~ ^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$ ]] || die "bucket: '$o_bucket' is no bucket name"
    need_state
    local code
    code=$(s3 PUT "/$o_bucket")
    case $code in
        200) ;;
        409) grep -q BucketAlreadyOwnedByYou "$DIR/run/answer" || die "bucket $o_bucket: $(cat "$DIR/run/answer")" ;;
        *) die "bucket $o_bucket: status $code $(cat "$DIR/run/curl.err" "$DIR/run/answer" 2>/dev/null)" ;;
    esac
}

do_status() {
    [ -f "$DIR/state" ] || { printf 'nothing in %s\n' "$DIR"; exit 3; }
    local name pid status=0
    printf 'dir      %s\nhttp     http://127.0.0.1:%s\n' "$DIR" "$(state_get port)"
    for name in "${NAMES[@]}"; do
        if pid=$(pid_of "$name"); then
            printf '%-8s pid %s, %s MiB resident\n' "$name" "$pid" \
                "$(awk '$1 == "VmRSS:" { print int($2 / 1024) }' "/proc/$pid/status")"
        else
            printf '%-8s not running\n' "$name"
            status=3
        fi
    done
    [ "$status" -eq 0 ] && answers || status=3
    [ "$status" -eq 0 ] && echo 's3       answers' || echo 's3       does not answer'
    exit "$status"
}

do_destroy() {
    local name
    for name in "${NAMES[@]}"; do halt "$name" kill; done
    if [ -e "$DIR/.$TOOL" ]; then
        rm -rf -- "${DIR:?}"
    elif [ -e "$DIR" ]; then
        rmdir "$DIR" 2>/dev/null || die "$DIR was not made by $TOOL: not touching it"
    fi
    rm -f "$DIR.lock"
}

main() {
    local verb=${1:-help} opt val
    DIR=${XDG_RUNTIME_DIR:-/tmp}/$TOOL
    o_port='' o_timeout=60 o_kill='' o_bucket='' o_options=()
    [ $# -eq 0 ] || shift
    while [ $# -gt 0 ]; do
        opt=$1 val=''
        shift
        case $opt in
            --*=*) val=${opt#*=} opt=${opt%%=*} ;;
            --kill | --tls) ;;
            --*) [ $# -gt 0 ] || die "$opt needs a value"; val=$1; shift ;;
        esac
        case $opt in
            --dir) DIR=$val ;;
            --port) o_port=$val ;;
            --timeout) o_timeout=$val ;;
            --kill) o_kill=kill ;;
            --*) o_options+=("$opt=$val") ;;
            *) [ "$verb" = bucket ] && [ -z "$o_bucket" ] || die "unexpected argument $opt"; o_bucket=$opt ;;
        esac
    done
    [[ $o_port =~ ^[0-9]{0,5}$ && $o_timeout =~ ^[0-9]+$ ]] || die "bad --port or --timeout"
    case $DIR in /*) ;; *) DIR=$PWD/$DIR ;; esac
    DIR=${DIR%/}
    [[ -n $DIR && $DIR != *[[:space:]\"\'\;\#\$]* ]] || die "--dir: no spaces, quotes, '#', ';' or '\$', and not /"
    tool_options ${o_options[@]+"${o_options[@]}"}
    case $verb in
        start) lock; do_start ;;
        env) do_env ;;
        bucket) do_bucket ;;
        status) do_status ;;
        stop) [ ! -d "$DIR" ] || { lock; halt "${NAMES[0]}" $o_kill; } ;;
        restart) lock; need_state; halt "${NAMES[0]}" $o_kill; do_start ;;
        destroy) lock; do_destroy ;;
        help | -h | --help) usage ;;
        *) tool_verb "$verb" || { usage >&2; exit 2; } ;;
    esac
}

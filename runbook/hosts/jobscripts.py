"""The POSIX shell side of jobs (jobs.py says what they are). ``$1`` is always the job's folder;
every value is an argument, nothing is put into these texts.
"""

from runbook.hosts.processes import ALIVE

#: identity PID: "START BOOT" of a living process, so that a reused number is not taken for it
_COMMON = (
    ALIVE
    + r"""
cd "$HOME" || exit 1
job=$1
identity() {
  if { read -r s < "/proc/$1/stat"; } 2>/dev/null; then
    set -- ${s##*) }
    [ "$1" != Z ] && [ "$1" != X ] || return 1
    read -r boot < /proc/sys/kernel/random/boot_id 2>/dev/null || boot=-
    echo "${20} $boot"
  elif [ ! -r /proc/self/stat ]; then
    when=$(LC_ALL=C ps -o lstart= -p "$1" 2>/dev/null | tr -s ' ' _) && [ -n "$when" ] && echo "$when -"
  else
    return 1
  fi
}
# running: does the job's process group still live? The leader's identity counts; if it is gone,
# the group (its number cannot be reused while a member lives, in the same boot).
running() {
  { read -r pid start boot < "$job/pid"; } 2>/dev/null || return 1
  if now=$(identity "$pid"); then [ "$now" = "$start $boot" ]; return; fi
  { read -r here < /proc/sys/kernel/random/boot_id; } 2>/dev/null || here=-
  [ "$here" = "$boot" ] && alive "$pid"
}
size() { if [ -f "$job/out" ]; then wc -c < "$job/out" | tr -d ' '; else echo 0; fi; }
done_line() { { read -r code < "$job/rc"; } 2>/dev/null && echo "done $code $(size)"; }
state() {
  done_line && return
  if [ ! -e "$job/pid" ]; then echo absent; return; fi
  if running; then echo "running $(size)"; return; fi
  done_line || echo "lost $(size)"
}
"""
)

#: the detached runner: FOLDER UMASK CWD COMMAND… ; it says on fd 3 whether it is the job
RUNNER = (
    _COMMON
    + r"""
mask=$2 folder=$3; shift 3
mine="$job/pid.$$"
echo "$$ $(identity $$)" > "$mine" && ln "$mine" "$job/pid" 2>/dev/null; won=$?
rm -f "$mine"
# who started it may be gone by now, and the pipe with it
trap '' PIPE
[ "$won" = 0 ] || { echo taken >&3; exit 0; } 2>/dev/null
{ echo started >&3; } 2>/dev/null
exec 3>&-
trap - PIPE
# a TERM for the group ends the command; the runner stays to write down how it ended
trap : TERM INT HUP
( cd -- "$folder" && umask "$mask" && exec "$@" )
code=$?
echo "$code" > "$job/rc.new" && mv -f "$job/rc.new" "$job/rc"
"""
)

#: FOLDER CWD INPUT_SIZE RUNNER COMMAND… ; the input goes through a file that has lost its name before
#: it has any content
START = (
    _COMMON
    + r"""
mask=$(umask); umask 077
folder=$2 want=$3 runner=$4; shift 4
found=$(state)
[ "$found" = absent ] || { echo "$found"; exit 0; }
(cd -- "$folder") || exit 1
mkdir -p "$job" && chmod 700 "$job" || exit 1
: > "$job/in.$$" || exit 1
exec 5> "$job/in.$$" 6< "$job/in.$$" 7< "$job/in.$$"
rm -f "$job/in.$$"
cat >&5
exec 5>&-
[ "$(wc -c <&6 | tr -d ' ')" = "$want" ] || { echo "the input came incomplete" >&2; exit 1; }
detach() {
  if command -v setsid >/dev/null 2>&1; then exec setsid "$@"
  elif command -v perl >/dev/null 2>&1; then
    exec perl -e 'use POSIX; POSIX::setsid(); exec { $ARGV[0] } @ARGV' "$@"
  else exec python3 -c 'import os, sys; os.setsid(); os.execvp(sys.argv[1], sys.argv[1:])' "$@"
  fi
}
answer=$(detach sh -c "$runner" job "$job" "$mask" "$folder" "$@" 3>&1 <&7 >> "$job/out" 2>&1 6<&- 7<&- &)
case $answer in
  started) echo started ;;
  taken) state ;;
  *) echo "the runner did not come up" >&2; exit 1 ;;
esac
"""
)

STATUS = _COMMON + "state\n"

#: FOLDER OFFSET MOST SECONDS: waits for something new, then the state on one line (taken before
#: the output is read, so that "done" means that all of it can be read), then the output
LOOK = (
    _COMMON
    + r"""
offset=$2 most=$3 ticks=$(($4 * 5)) n=0
while :; do
  seen=$(state)
  case $seen in running*) ;; *) break ;; esac
  [ "${seen##* }" -le "$offset" ] && [ "$n" -lt "$ticks" ] || break
  n=$((n+1)); sleep 0.2 2>/dev/null || { sleep 1; n=$((n+4)); }
done
echo "$seen"
[ "$seen" = absent ] || [ ! -f "$job/out" ] || tail -c "+$((offset+1))" "$job/out" | head -c "$most"
"""
)

#: FOLDER TENTHS
CANCEL = (
    _COMMON
    + r"""
signal() { kill -s "$1" -- "-$pid" 2>/dev/null || sudo -n kill -s "$1" -- "-$pid" 2>/dev/null; }
await() { n=0; while running; do [ "$n" -lt "$1" ] || return 1; n=$((n+1)); pause; done; }
if running; then
  signal TERM
  if ! await "$2"; then
    signal KILL
    if ! await 30; then echo running; exit 0; fi
    # killed for certain, and nobody is left to write it down
    [ -e "$job/rc" ] || { echo 137 > "$job/rc.new" && mv -f "$job/rc.new" "$job/rc"; }
  fi
fi
echo gone
"""
)

REMOVE = (
    _COMMON
    + r"""
if running; then echo "it still runs" >&2; exit 1; fi
rm -rf -- "$job"
"""
)

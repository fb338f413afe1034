#!/bin/sh
# Installs the program from this kit, without a network, and lays out a folder to work in:
#   sh install.sh [FOLDER]        (default: ~/runbook-recovery)
# Nothing in the kit is changed; what is already in FOLDER is kept, but for the program itself.
set -eu
umask 077

fail() {
  printf '%s\n' "$@" >&2
  exit 1
}

kit=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
target=${1:-$HOME/runbook-recovery}
case $target in
  *[\"\'\\\$\`]*) fail "Choose a folder without quotes, dollar signs and backslashes: $target" ;;
esac
[ -f "$kit/program/requirements.txt" ] || fail "This kit holds no program to install; see MISSING.txt."
read -r version platform < "$kit/program/python"

python=
for name in "python$version" python3 python; do
  if found=$("$name" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) \
    && [ "$found" = "$version" ]; then
    python=$name
    break
  fi
done
[ -n "$python" ] || fail "The wheels of this kit are for Python $version ($platform); it is not on this PC." \
  "Install that version. The guides and contacts in the kit can be read without it."

mkdir -p -- "$target"
target=$(CDPATH='' cd -- "$target" && pwd)
"$python" -m venv --clear "$target/venv" \
  || fail "No environment could be made in $target/venv (Debian, Ubuntu: the package python$version-venv)."
# this PC's pip settings say nothing here: all comes from the kit, each file by its hash
for name in $(env | sed -n 's/^\(PIP_[A-Z_]*\)=.*/\1/p'); do unset "$name"; done
PIP_CONFIG_FILE=/dev/null "$target/venv/bin/python" -I -m pip --disable-pip-version-check install \
  -q --no-index --find-links "$kit/program/wheels" --require-hashes -r "$kit/program/requirements.txt" \
  || fail "The program could not be installed. The kit is for Python $version, $platform." \
    "Compare it with its sums: (cd '$kit' && sha256sum -c --quiet SHA256SUMS)"

if [ -d "$kit/infrastructure" ] && [ ! -e "$target/infrastructure" ]; then
  cp -R -- "$kit/infrastructure" "$target/infrastructure"
  [ ! -d "$kit/state" ] || cp -R -- "$kit/state/." "$target/infrastructure/"
  chmod -R go= "$target/infrastructure"
fi
if [ -f "$kit/settings/runbook.toml" ] && [ ! -e "$target/runbook.toml" ]; then
  cp -- "$kit/settings/runbook.toml" "$target/runbook.toml"
fi
[ ! -d "$kit/tofu" ] || cp -R -- "$kit/tofu" "$target/"

{
  printf 'PATH="%s/venv/bin:%s/tofu/bin:$PATH"; export PATH\n' "$target" "$target"
  [ ! -f "$target/runbook.toml" ] || printf 'RUNBOOK_SITE="%s/runbook.toml"; export RUNBOOK_SITE\n' "$target"
  if [ -d "$target/tofu/providers" ]; then
    printf 'TF_CLI_CONFIG_FILE="%s/tofu.rc"; export TF_CLI_CONFIG_FILE\n' "$target"
  fi
} > "$target/env"
if [ -d "$target/tofu/providers" ]; then
  printf 'provider_installation {\n  filesystem_mirror {\n    path = "%s/tofu/providers"\n  }\n}\n' \
    "$target" > "$target/tofu.rc"
fi

"$target/venv/bin/runbook" --version
printf '%s\n' "Installed in $target. Now, in each terminal:" "  . '$target/env'" "  runbook guide list"

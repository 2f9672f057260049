#!/usr/bin/env bash
# Runs a command where matrix units can be tried without a GPU: in a folder with Debian 13 and the Mesa of its backports, whose lavapipe
# multiplies 8 x 8 x 8 matrices of f16.
# The checkout is at /work inside. As root, with debootstrap. The first call for a folder takes 3 to 4 minutes and 0.6 GB,
# later ones nothing.
#   scripts/matrix-folder.sh FOLDER COMMAND...
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,5p' "$0"; exit 2; }
folder=$1
shift
checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# Where this system's own packages come from.
mirror() {
  if [ -f /etc/apt/sources.list.d/debian.sources ]; then awk '/^URIs:/ { print $2; exit }' /etc/apt/sources.list.d/debian.sources
  else awk '$1 == "deb" && $2 !~ /security/ { print $2; exit }' /etc/apt/sources.list; fi
}

make_folder() {
  local from
  from=$(mirror)
  [ -n "$from" ] || { echo "no Debian mirror in this system's sources" >&2; return 1; }
  if ! command -v debootstrap >/dev/null; then
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y debootstrap || return 1
  fi
  rm -rf "$folder"
  debootstrap --variant=minbase --include=ca-certificates trixie "$folder" "$from" || return 1
  cp /etc/resolv.conf /etc/hosts "$folder/etc/"
  cp /etc/apt/apt.conf.d/* "$folder/etc/apt/apt.conf.d/" 2>/dev/null || true
  echo "deb $from trixie-backports main" >"$folder/etc/apt/sources.list.d/backports.list"
  chroot "$folder" sh -c 'apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
    apt-get install -qq -y --no-install-recommends -t trixie-backports mesa-vulkan-drivers libvulkan1' || return 1
  touch "$folder/.ready"
}

if [ ! -e "$folder/.ready" ]; then
  mkdir -p "$(dirname "$folder")"
  make_folder >"$folder.log" 2>&1 || { tail -n 20 "$folder.log" >&2; exit 1; }
fi
cp -f "$(readlink -f "$(command -v node)")" "$folder/usr/local/bin/node"
mkdir -p "$folder/work" "$folder/proc"
# Mounts of this process alone, gone with it.
export folder checkout
exec unshare --mount bash -c '
  mount --bind "$checkout" "$folder/work" && mount --bind /proc "$folder/proc" || exit 1
  exec chroot "$folder" env XDG_RUNTIME_DIR=/tmp HOME=/root PATH=/usr/local/bin:/usr/bin:/bin sh -c "cd /work && exec \"\$@\"" sh "$@"
' bash "$@"

#!/usr/bin/env bash
# What the tests use and the stable Debian does not have: docker compose v2, out of the package of the next release. The
# package is only unpacked beside node_modules, with lists of its own; nothing is installed, no source is added.
set -euo pipefail
cd "$(dirname "$0")/../.."
tools=node_modules/.cache/e2e-tools
[ -x "$tools/docker-compose" ] && exit 0

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
chmod 755 "$place"
mkdir -p "$place"/{lists,archives}/partial "$tools"
# The mirror that this machine has its own packages from.
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Component: main' | grep -v -- -security | head -n 1)
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" >"$place/sources.list"
own=(-o "Dir::Etc::SourceList=$place/sources.list" -o Dir::Etc::SourceParts=- -o "Dir::State::Lists=$place/lists"
  -o "Dir::Cache=$place" -o APT::Sandbox::User=root -qq)
apt-get "${own[@]}" update
(cd "$place" && apt-get "${own[@]}" download docker-compose && dpkg-deb -x docker-compose_*.deb unpacked)
cp "$place/unpacked/usr/libexec/docker/cli-plugins/docker-compose" "$tools/docker-compose"

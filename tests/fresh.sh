#!/usr/bin/env bash
# Does it all work on a machine that has nothing? Makes a bare Debian (debootstrap: git, make and the Rust toolchain of this
# machine, no compiler, no Node.js), clones this repository into it and runs `make run` until it is ready, or `make test`.
#   tests/fresh.sh run|test|ci [DIRECTORY]     needs root, debootstrap and 15 GB; takes 10 to 45 minutes
set -euo pipefail
cd "$(dirname "$0")/.."
what=${1:?run, test or ci}
root=${2:-$(mktemp -d /tmp/duocast-fresh-XXXXXX)}
command -v debootstrap >/dev/null || { echo "fresh: apt-get install debootstrap" >&2; exit 1; }

if [ ! -d "$root/work/duocast" ]; then
    debootstrap --variant=minbase --include=git,ca-certificates,make bookworm "$root" http://deb.debian.org/debian >"$root.log" 2>&1 ||
        { tail "$root.log" >&2; exit 1; }
    # As Debian's installer has it: browsers come from here.
    echo "deb http://deb.debian.org/debian-security bookworm-security main" >>"$root/etc/apt/sources.list"
    mkdir -p "$root/root/.cargo/bin" "$root/work"
    cp -a "${RUSTUP_HOME:-$HOME/.rustup}" "$root/root/.rustup"
    for tool in cargo rustc rustup rustdoc rustfmt cargo-fmt cargo-clippy clippy-driver; do
        cp -a "${CARGO_HOME:-$HOME/.cargo}/bin/$tool" "$root/root/.cargo/bin/"
    done
    # How this machine reaches the network: names, its certificates, npm's registry.
    cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
    cp /etc/resolv.conf /etc/hosts "$root/etc/"
    for settings in "$HOME/.npmrc" "$HOME/.cargo/config.toml" "$HOME/.config/pip/pip.conf" /etc/pip.conf; do
        [ ! -e "$settings" ] || install -D "$settings" "$root/${settings/#"$HOME"//root}"
    done
    git clone -q . "$root/work/duocast"
fi

case $what in
    # It would run for ever; with the first process of the namespace everything in it ends.
    run) inside='make run >run.log 2>&1 & until grep -q ^ready run.log; do kill -0 $! || { tail run.log; exit 1; }; sleep 1; done; sleep 1; tail -n 8 run.log' ;;
    test) inside='make test' ;;
    ci) inside='.ci/run' ;;
    *) echo "fresh: run, test or ci?" >&2; exit 2 ;;
esac
echo "fresh: $what in $root"
# In namespaces of its own, so that no mount and no process stays behind.
exec unshare --mount --pid --fork bash -euc '
    root=$1
    # What is mounted nowhere cannot be mounted anew inside, as the tests with namespaces do.
    mount --bind "$root" "$root"
    mount -t proc proc "$root/proc"
    mount -t sysfs sysfs "$root/sys"
    mount --rbind /dev "$root/dev"
    exec chroot "$root" /usr/bin/env -i HOME=/root TERM=dumb LANG=C.UTF-8 RUSTUP_AUTO_INSTALL=0 \
        PATH=/root/.cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
        bash -c "cd /work/duocast && $2"' fresh "$root" "$inside"

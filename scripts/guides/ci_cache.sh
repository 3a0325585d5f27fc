#!/bin/sh
# docs/guides/ci-caches.md: ci_cache.sh write|check DIRECTORY
#
# A build's cache: one directory for each key, filled beside its place and renamed into it.
set -eu
directory=$2/cache
key=deps-$(printf 'lock file of the project' | sha256sum | cut -c1-16)

case $1 in
write)
    mkdir -p "$directory"
    work=$(mktemp -d "$directory/.new-XXXXXX")
    # What a build would download or compile.
    for number in $(seq 1 50); do
        mkdir -p "$work/package-$number"
        seq "$number" 2000 > "$work/package-$number/object"
    done
    (cd "$work" && find . -name object -exec sha256sum {} + > .sums)
    # In one group this is one step: whoever looks finds all of it or nothing.
    mv -T "$work" "$directory/$key"
    ;;
check)
    [ -d "$directory/$key" ] || {
        echo "a miss: build, then write" >&2
        exit 1
    }
    copy=$(mktemp -d)
    trap 'rm -rf "$copy"' EXIT
    cp -r "$directory/$key/." "$copy/"
    (cd "$copy" && sha256sum --quiet -c .sums)
    echo "restored $(find "$copy" -name object | wc -l) packages"
    ;;
*)
    sed -n '2,4s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac

#!/usr/bin/env bash
# Becomes one node's machine: runs in new mount and UTS namespaces, gives them their own /run, CNI and state folders
# below DIR, then waits for ever. Usage: machine-script.sh DIR NAME
set -euo pipefail
dir=$1 name=$2
hostname "$name"
mount --make-rprivate /
own() { mkdir -p "$dir/$1" "$2"; mount --bind "$dir/$1" "$2"; }
own cni-conf /etc/cni/net.d
own cni-bin /opt/cni/bin
own cni-state /var/lib/cni
own kubelet /var/lib/kubelet
own containerd /var/lib/containerd
own pod-logs /var/log/pods
mkdir -p /var/log/containers
mount -t tmpfs tmpfs /var/log/containers
mount --make-rshared /var/lib/kubelet
# The machine's own network namespaces must not shine through.
while umount -l /run/netns 2>/dev/null; do :; done
mkdir -p "$dir/run"
mount -t tmpfs -o mode=755 tmpfs "$dir/run"
mkdir -p "$dir"/run/{netns,lock,mount}
mount --move "$dir/run" /run
mount --make-rshared /run
exec sleep infinity

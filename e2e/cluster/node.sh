#!/bin/bash
# Process 1 of the node. It runs in pid, mount, network, ipc and uts namespaces of its own: when it dies,
# every process, mount and interface of the cluster goes with it. Started by `cargo xtask cluster up`, which
# makes the state folder, sets the variables named below and connects the interface `uplink`.
set -euo pipefail
: "${STATE:?}" "${API_PROGRAMS:?}" "${NODE_PROGRAMS:?}" "${IMAGES:?}" # folders on the machine
: "${CGROUP:?}"                                                         # cgroup of all pods
: "${HOST_NETWORK:?}"                                                   # the machine's network namespace
: "${HOST_ADDRESS:?}" "${NODE_ADDRESS:?}" "${POD_GATEWAY:?}" "${POD_SUBNET:?}" "${SERVICE_SUBNET:?}"
: "${PORTS?}" # words ADDRESS:PORT:NODE_PORT: ports of the machine that lead to ports of the node

# /proc is still the machine's, so this is how the machine knows this process: its id and its start.
read -r -a stat < /proc/self/stat
echo "${stat[0]} ${stat[21]}" > "$STATE/init"

# Everything has one short path below /run, wherever the folders are on the machine.
mkdir -p "$STATE/run"
mount -t tmpfs run "$STATE/run"
mkdir "$STATE"/run/{state,api,programs,images,lock,netns,var,work}
mount --bind "$STATE" "$STATE/run/state"
mount --bind "$API_PROGRAMS" "$STATE/run/api"
mount --bind "$NODE_PROGRAMS" "$STATE/run/programs"
mount --bind "$IMAGES" "$STATE/run/images"
touch "$STATE/run/host-network"
mount --bind "$HOST_NETWORK" "$STATE/run/host-network"
mount --no-mtab --move "$STATE/run" /run
# kubelet and CNI write to fixed places below /var: the machine's /var stays as it is.
mount -t overlay var -o lowerdir=/var,upperdir=/run/var,workdir=/run/work /var
mount -t tmpfs tmp /tmp
mount -t proc proc /proc
cd /run
pki=/run/state/pki
export PATH=/run/api:/run/programs:$PATH KUBECONFIG=$pki/admin.kubeconfig

declare -A names=()
run() { # name command...: runs in the background with a log of its own
  local name=$1
  shift
  "$@" > "/run/state/logs/$name.log" 2>&1 &
  names[$!]=$name
}
fail() { # name: the machine's side reads it and shows the end of the log
  echo "$1" > /run/state/failed
  exit 1
}
wait_for() { # command...: until it succeeds; the deadline is the machine's side's
  until "$@" > /dev/null 2>&1; do
    for pid in "${!names[@]}"; do kill -0 "$pid" 2> /dev/null || fail "${names[$pid]}"; done
    sleep 0.2
  done
}

hostname berth-node
ip link set lo up
sysctl -qw net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1
ip link add cni0 type bridge
ip addr add "$POD_GATEWAY/24" dev cni0
ip link set cni0 up
wait_for ip link show uplink
ip addr add "$NODE_ADDRESS/30" dev uplink
ip link set uplink up
ip route add default via "$HOST_ADDRESS"
for port in $PORTS; do
  IFS=: read -r address number node_port <<< "$port"
  run "port-$number" nsenter --net=/run/host-network \
    socat "TCP-LISTEN:$number,bind=$address,reuseaddr,fork" "TCP:$NODE_ADDRESS:$node_port"
done

run etcd etcd --data-dir=/run/state/etcd --unsafe-no-fsync \
  --listen-client-urls=http://127.0.0.1:2379 --advertise-client-urls=http://127.0.0.1:2379 \
  --listen-peer-urls=http://127.0.0.1:0
run kube-apiserver kube-apiserver --etcd-servers=http://127.0.0.1:2379 --advertise-address="$NODE_ADDRESS" \
  --tls-cert-file=$pki/apiserver.crt --tls-private-key-file=$pki/apiserver.key --client-ca-file=$pki/ca.crt \
  --service-account-issuer=https://kubernetes.default.svc --service-account-key-file=$pki/sa.pub \
  --service-account-signing-key-file=$pki/sa.key --service-cluster-ip-range="$SERVICE_SUBNET" \
  --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --allow-privileged=true \
  --kubelet-client-certificate=$pki/apiserver-client.crt --kubelet-client-key=$pki/apiserver-client.key \
  --kubelet-preferred-address-types=InternalIP --enable-aggregator-routing=true \
  --requestheader-client-ca-file=$pki/ca.crt --proxy-client-cert-file=$pki/apiserver-client.crt \
  --proxy-client-key-file=$pki/apiserver-client.key
run containerd containerd --config=/run/state/containerd.toml
wait_for ctr -a /run/containerd.sock version
for image in /run/images/*.tar; do
  ctr -a /run/containerd.sock -n k8s.io images import "$image" > /run/state/logs/import.log 2>&1 || fail import
done

wait_for kubectl get --raw /readyz
controller() { # name argument...: flags that scheduler and controller-manager share
  local name=$1 config=$pki/$1.kubeconfig
  shift
  run "kube-$name" "kube-$name" --kubeconfig="$config" --authentication-kubeconfig="$config" \
    --authorization-kubeconfig="$config" --leader-elect=false --bind-address=127.0.0.1 "$@"
}
controller scheduler
controller controller-manager --use-service-account-credentials=true \
  --service-account-private-key-file=$pki/sa.key --root-ca-file=$pki/ca.crt \
  --cluster-signing-cert-file=$pki/ca.crt --cluster-signing-key-file=$pki/ca.key
run kubelet kubelet --config=/run/state/kubelet.yaml --kubeconfig=$pki/kubelet.kubeconfig \
  --hostname-override=berth-node --root-dir=/run/state/kubelet --node-ip="$NODE_ADDRESS"
# The limits of connection tracking belong to the machine and cannot be set from here.
run kube-proxy kube-proxy --kubeconfig=$pki/kube-proxy.kubeconfig --proxy-mode=iptables \
  --cluster-cidr="$POD_SUBNET" --hostname-override=berth-node --conntrack-max-per-core=0 \
  --conntrack-tcp-timeout-established=0s --conntrack-tcp-timeout-close-wait=0s

# Nothing restarts a part that ends: a test must hear of it.
ended=0
wait -n -p ended || true
fail "${names[$ended]}"

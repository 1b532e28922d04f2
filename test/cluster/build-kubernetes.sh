#!/usr/bin/env bash
# Builds the programs of a Kubernetes 1.20.2 cluster from Debian's own source package, with Debian's Go 1.19, into DIR.
# Four to eight minutes on two cores, once: what is there is kept, and a second caller waits for the first.
# Usage: build-kubernetes.sh DIR
set -euo pipefail
dir=$1
programs=(kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy agnhost)
# Names what is done below: built otherwise they are built again.
recipe=$dir/.recipe-2
missing() {
	for program in "${programs[@]}"; do [[ -x $dir/$program ]] || echo "$program"; done
	[[ -e $recipe ]] || echo recipe
}
mkdir -p "$dir"
exec 9>"$dir/.lock"
flock 9
[[ -z $(missing) ]] && exit 0

[[ $(id -u) == 0 ]] || { echo "building Kubernetes installs Debian packages: run it as root" >&2; exit 1; }
scratch=$(mktemp -d /var/tmp/manx-kubernetes.XXXXXX)
trap 'chmod -R u+w "$scratch"; rm -rf "$scratch"' EXIT
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
get() { apt-get -q -o DPkg::Lock::Timeout=300 "$@" >>"$scratch/apt.log" 2>&1 || { cat "$scratch/apt.log" >&2; exit 1; }; }
get update
get install -y --no-install-recommends golang-1.19-go golang-1.19-src dpkg-dev

# The suites this machine has, as source suites, listed apart from the machine's own lists.
mkdir -p "$scratch/parts" "$scratch/lists/partial"
for file in /etc/apt/sources.list.d/*.sources; do
	[[ -e $file ]] && sed 's/^Types:.*/Types: deb-src/' "$file" >"$scratch/parts/$(basename "$file")"
done
[[ -s /etc/apt/sources.list ]] && sed -n 's/^deb /deb-src /p' /etc/apt/sources.list >"$scratch/parts/main.list"
apart=(-o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts="$scratch/parts" -o Dir::State::Lists="$scratch/lists" -o APT::Sandbox::User=root)
get "${apart[@]}" update
tree=$scratch/go/src/k8s.io/kubernetes
mkdir -p "$(dirname "$tree")"
cd "$scratch"
get "${apart[@]}" source --download-only kubernetes
dpkg-source --no-check -x kubernetes_*.dsc "$tree" >/dev/null
cd "$tree"
export PATH=/usr/lib/go-1.19/bin:$PATH GOPATH=$scratch/go GOCACHE=$scratch/cache GO111MODULE=off GOFLAGS= CGO_ENABLED=0

# Debian strips one generated file, the OpenAPI definitions of the built-in types. Its inputs are the packages marked so.
go build -o "$scratch/openapi-gen" ./vendor/k8s.io/kube-openapi/cmd/openapi-gen
marked=$(grep -rl --include='*.go' --exclude-dir=_examples -F '+k8s:openapi-gen=' cmd pkg staging/src/k8s.io |
	grep -v -e _test.go -e code-generator -e sample-apiserver | xargs -n1 dirname | sort -u |
	sed -E -e 's#^staging/src/#k8s.io/kubernetes/vendor/#' -e 's#^(cmd|pkg)#k8s.io/kubernetes/\1#' | paste -sd,)
"$scratch/openapi-gen" --output-base "$GOPATH/src" -O zz_generated.openapi -p k8s.io/kubernetes/pkg/generated/openapi \
	-h hack/boilerplate/boilerplate.generatego.txt -r "$scratch/violations" -i "$marked" >/dev/null 2>&1

# The reflect2 of that time calls reflect.mapiterinit as it was before Go 1.18, which then writes to wherever a register
# points: the API server dies of it when a custom resource is written. Here as it has been since.
reflect2=vendor/github.com/modern-go/reflect2
sed -i 's/^func mapiterinit(.*/func mapiterinit(rtype unsafe.Pointer, m unsafe.Pointer, it *hiter)/' $reflect2/unsafe_link.go
sed -i -E 's/^(\tvalue unsafe.Pointer.*)/\1\n\tpointers [6]unsafe.Pointer\n\twords [4]uintptr/' $reflect2/unsafe_link.go
sed -i 's/mapiterinit(type2.rtype, /newIterator(type2.rtype, /' $reflect2/unsafe_map.go
cat >>$reflect2/unsafe_map.go <<'GO'

func newIterator(rtype unsafe.Pointer, m unsafe.Pointer) *hiter {
	it := new(hiter)
	mapiterinit(rtype, m, it)
	return it
}
GO
grep -q 'words \[4\]uintptr' $reflect2/unsafe_link.go && grep -q 'newIterator(type2' $reflect2/unsafe_map.go

version=''
for package in component-base/version client-go/pkg/version; do
	for field in gitVersion=v1.20.2 gitMajor=1 gitMinor=20; do
		version+=" -X k8s.io/kubernetes/vendor/k8s.io/$package.$field"
	done
done
mkdir "$scratch/out"
go build -ldflags "-s -w$version" -o "$scratch/out/" ./cmd/kube-{apiserver,controller-manager,scheduler,proxy} ./cmd/kubelet
(cd test/images/agnhost && go build -ldflags '-s -w' -o "$scratch/out/agnhost" .)
# On another file system a program must not be seen half copied.
for program in "${programs[@]}"; do
	cp "$scratch/out/$program" "$dir/.$program"
	mv "$dir/.$program" "$dir/$program"
done
touch "$recipe"

// The definitions of the Gateway API, for tests: nothing is built from it.
module berth.dev/e2e/gateway

go 1.24.0

require sigs.k8s.io/gateway-api v1.4.0

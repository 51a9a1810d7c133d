# `make help` lists the targets.
GO      ?= go
STATE   ?= .cache/fairway
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
VERSION := $(VERSION)
FUZZTIME ?= 10s

# The image's name is what the chart asks for; a registry's takes its place by IMAGE=.
APPVERSION = $(shell sed -n 's/^appVersion: *"\{0,1\}\([^"]*\)"\{0,1\}/\1/p' deploy/chart/Chart.yaml)
IMAGE      ?= localhost/fairway:$(APPVERSION)
PLATFORMS  ?= linux/amd64 linux/arm64

export GOTOOLCHAIN = local

# The race detector wants cgo, which Go switches off where there is no C compiler.
RACE := $(if $(filter 1,$(shell $(GO) env CGO_ENABLED)),-race)

.PHONY: help build run test race fuzz check bench bench-cluster image crds manifests conformance faults clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

build: ## build bin/fairway
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/fairway ./gateway

run: build ## build and serve deploy/quickstart on 127.0.0.1, with its demo backends
	@bin/fairway demo -ca $(STATE)/ca.crt & demo=$$!; \
	trap 'kill $$demo 2>/dev/null' EXIT; trap 'exit 0' INT TERM; \
	bin/fairway serve -manifests deploy/quickstart -bind 127.0.0.1 -admin 127.0.0.1:9090 -state $(STATE)

test: ## all tests: unit, golden, fuzz seeds, end to end through the real binary; with the race detector where there is a C compiler
	$(GO) vet ./...
	$(GO) test $(RACE) -timeout 15m ./...

race: ## the tests three times over with the race detector
	$(GO) test -race -count=3 -timeout 30m ./...

fuzz: ## run every fuzzer for FUZZTIME
	@for p in $$($(GO) list ./...); do \
	  for f in $$($(GO) test -list '^Fuzz' $$p | grep '^Fuzz'); do \
	    echo "$$p $$f"; .ci/fuzz "$$p" "$$f" $(FUZZTIME) || exit 1; \
	  done; \
	done

bench: build ## measure against nginx, HAProxy, Caddy and Traefik; SCENARIO=h1 runs one, SCENARIO=hop what a hop of the mesh costs
	$(GO) build -o .cache/bench/bench ./bench
	taskset -c 0 .cache/bench/bench -scenario '$(SCENARIO)'

bench-cluster: ## measure on the cluster of KUBECONFIG, or where EXEC says; SCENARIO=fleet runs one, ARGS='-scale 0.1' smaller ones
	CGO_ENABLED=0 $(GO) build -o .cache/bench/cluster ./bench/cluster
	CGO_ENABLED=0 $(GO) build -o .cache/bench/load ./discovery/feed/load
	$(EXEC) .cache/bench/cluster -scenario '$(SCENARIO)' $(ARGS)

image: $(PLATFORMS:%=.cache/image/%/fairway) ## write bin/fairway-image.tar: an OCI archive for linux/amd64 and linux/arm64
	@mkdir -p bin
	cd deploy/image && $(GO) run . -ref $(IMAGE) -version $(VERSION) -revision $$(git rev-parse HEAD) \
	  -created $$(git log -1 --format=%ct) -o ../../bin/fairway-image.tar \
	  $(foreach p,$(PLATFORMS),$(p)=../../.cache/image/$(p)/fairway)

.PHONY: $(PLATFORMS:%=.cache/image/%/fairway)
$(PLATFORMS:%=.cache/image/%/fairway): .cache/image/%/fairway:
	CGO_ENABLED=0 GOOS=$(*D) GOARCH=$(*F) $(GO) build -trimpath -buildvcs=false -ldflags '-s -w -X main.version=$(VERSION)' -o $@ ./gateway

crds: ## write deploy/crds/istio: the definitions of Istio's kinds, of the module in go.mod
	$(GO) run ./deploy/crds/trim -to deploy/crds/istio \
	  -from "$$($(GO) list -m -f '{{.Dir}}' istio.io/api)/kubernetes/customresourcedefinitions.gen.yaml"

HELM = $(GO) -C deploy/tools tool helm

manifests: ## check the chart and write deploy/install.yaml: what it installs by default, for kubectl
	$(HELM) lint --strict --quiet $(CURDIR)/deploy/chart
	@{ printf '# Written by "make manifests" from deploy/chart with its defaults. After deploy/crds:\n'; \
	   printf '#   kubectl apply --server-side -f deploy/install.yaml\n---\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: fairway-system\n'; \
	   printf '  labels:\n    pod-security.kubernetes.io/enforce: restricted\n'; \
	   $(HELM) template fairway $(CURDIR)/deploy/chart --namespace fairway-system 2>/dev/null; } >deploy/install.yaml.new
	@grep -q 'kind: GatewayClass' deploy/install.yaml.new && mv deploy/install.yaml.new deploy/install.yaml

CLUSTER ?= $(CURDIR)/../shared/cluster/cluster
KUBECTL ?= /var/cache/gateway-cluster/bin/kubectl

# Addresses that the cluster gives to Services of type LoadBalancer, and one that it never gives.
USABLE_ADDRESS   ?=
UNUSABLE_ADDRESS ?=

conformance: ## the official Gateway API suite against the cluster of KUBECONFIG; the report goes to deploy/conformance/reports
	cd deploy/conformance && $(GO) test -count=1 -timeout 2h $(if $(EXEC),-exec '$(EXEC)') . -args \
	  -version=v$(APPVERSION) -usable-address=$(USABLE_ADDRESS) -unusable-address=$(UNUSABLE_ADDRESS) $(ARGS)

faults: ## break the cluster of ../shared/cluster under load, and count what is lost; RUN=regexp picks faults
	CGO_ENABLED=0 $(GO) build -o .cache/faults ./deploy/faults
	$(CLUSTER) exec .cache/faults -cluster $(CLUSTER) -kubectl $(KUBECTL) -run '$(RUN)' $(ARGS)

clean: ## remove what the build made
	rm -rf bin .cache

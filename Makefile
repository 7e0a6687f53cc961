.DEFAULT_GOAL := help
.PHONY: help setup run embed bulk bulk-status bulk-cancel bulk-resume load test test-emulated coverage test-clients test-infra test-image test-deploy test-bulk-aws test-batches test-models page test-page screenshot check api-key layers publish models models-shelf sbom audit release-notes report verify-deployment test-bulk test-processors fuzz mutants soak worst model image golden vocabulary bench bench-cold bench-lambda bench-models bench-instructions
SHELL := bash
export UV_PYTHON_DOWNLOADS := never
# handler/ turns ONNX Runtime's telemetry off itself; this is for the other commands.
export ORT_DISABLE_TELEMETRY := 1

HOST := 127.0.0.1
PORT ?= 3000
# Where files and batches are; git ignores build/.
DATA ?= build/data
uv := .venv/bin/uv
python := .venv/bin/python
schema := .venv/bin/check-jsonschema --builtin-schema vendor.
export = $(uv) export --frozen --quiet --no-annotate --no-header
mutmut = $(uv) run --frozen --with mutmut==3.8.1 mutmut
# The option of a command for a variable: INPUT_TYPE -> --input-type.
option = --$(subst _,-,$(shell echo $1 | tr A-Z a-z))
# Those of the variables that are set, with their values.
options = $(foreach name,$1,$(if $(value $(name)),$(call option,$(name)) "$$$(name)"))
LAYERS ?= layers
SBOM ?= build/sbom.cdx.json
LICENCES ?= docs/licences.md
# uv.lock pins the version of uv that reads it.
uv_version = $(shell sed -n '/^name = "uv"$$/{n;s/version = "\(.*\)"/\1/p;}' uv.lock)

# $(call flag,DRY_RUN,--dry-run) is the option if the variable is set, and not to 0.
flag = $(if $(filter-out 0,$(value $1)),$2)
# $(call need,NAME,alice) ends make with one line if the variable is empty.
need = $(if $(value $1),,$(error $1 is missing: make $@ $1=$2))
# make would expand the dollar signs of a text, a column or a path.
as_it_is = $(if $(filter-out undefined,$(origin $1)),$(eval override $1 := $$(value $1))$(eval export $1))
$(foreach name,TEXT ID IN OUT PREVIOUS FROM DATA,$(call as_it_is,$(name)))

# Show the progress of a download, but not the list of packages.
sync = set -o pipefail; $(uv) sync --frozen $1 2>&1 | awk '!/^ [-+~] / {print; fflush()}' >&2

all_tests := the unit, contract, golden and fuzz tests: about three minutes on two cores
# A test process per core; each takes tests from the other when it has none left.
parallel := --numprocesses auto --maxprocesses 8 --dist worksteal
# A test that hangs prints the stacks of its threads after so many seconds, and ends the run.
parallel += -o faulthandler_timeout=600 -o faulthandler_exit_on_timeout=true

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/ready ## install what serving needs into .venv (needs only python3 >= 3.11 with venv)

.venv/ready: pyproject.toml uv.lock
	@command -v python3 >/dev/null || { echo "make: python3 is missing: install Python 3.11 or newer (Debian, Ubuntu: apt-get install python3-venv)" >&2; exit 1; }
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: python3 is $$(python3 -V 2>&1); 3.11 or newer is required" >&2; exit 1; }
	@python3 -c 'import ensurepip, venv' 2>/dev/null || { echo "make: python3 has no module venv: install it (Debian, Ubuntu: apt-get install python3-venv)" >&2; exit 1; }
	@[ -x $(uv) ] || { echo "Creating .venv with uv $(uv_version) (only the first time)" >&2; python3 -m venv .venv && $(python) -m pip install --quiet --disable-pip-version-check uv==$(uv_version); }
	@echo "Installing what serving needs into .venv" >&2
	@$(call sync,--inexact) && touch $@ # a target may run while others use the packages of groups

# The packages of a group in pyproject.toml, in addition to those above: a target that needs them depends on this file.
.venv/ready-%: .venv/ready
	@echo "Installing the packages of the group '$*' into .venv (only the first time)" >&2
	@$(call sync,--inexact --group $*) && touch $@

# Without a job of its own, make would call the server's status after Ctrl-C an error; SIGTERM is passed on.
run: setup ## serve on http://127.0.0.1:3000 (PORT=3000; QUIET=1: no request log; HOST=0.0.0.0: others may call, with a key; DATA=build/data: where files and batches are)
	@$(python) -m handler.local --host "$(HOST)" --port "$(PORT)" --data "$$DATA" $(call flag,QUIET,--quiet) & \
	trap : INT; trap "kill $$!" TERM; wait $$!; wait $$!; status=$$?; [ $$status -gt 128 ] || exit $$status

embed: setup ## print a text's vector (TEXT='...'), or the vector of each line of standard input
	@$(python) -m handler.local $(if $(filter undefined,$(origin TEXT)),--stdin,-- "$$TEXT")

bulk_options = $(call options,TEXT ID MODEL DIMENSIONS INPUT_TYPE LAYOUT PREVIOUS MAX_REJECTS STACK)
bulk_stack = $(if $(value STACK),--stack "$$STACK")

bulk: .venv/ready-bulk ## embed a data set, after its price (IN=data.parquet OUT=FOLDER; docs/bulk.md has the options)
	$(call need,IN,data.parquet OUT=vectors)$(call need,OUT,vectors)
	@$(python) -m handler.bulk run "$$IN" "$$OUT" $(bulk_options) $(call flag,YES,--yes) $(call flag,DRY_RUN,--dry-run)

bulk-status: .venv/ready-bulk ## print how far a bulk job is (OUT=FOLDER; STACK=embeddings on AWS)
	$(call need,OUT,vectors)
	@$(python) -m handler.bulk status "$$OUT" $(bulk_stack)

bulk-cancel: .venv/ready-bulk ## end a bulk job; what it has written remains (OUT=FOLDER; STACK=embeddings on AWS)
	$(call need,OUT,vectors)
	@$(python) -m handler.bulk cancel "$$OUT" $(bulk_stack)

bulk-resume: .venv/ready-bulk ## go on with a bulk job where it was (OUT=FOLDER; STACK=embeddings on AWS)
	$(call need,OUT,vectors)
	@$(python) -m handler.bulk resume "$$OUT" $(bulk_stack)

load: .venv/ready-bulk ## put the vectors of a bulk job into a vector store (FROM=FOLDER TO=s3vectors://bucket/index)
	$(call need,FROM,vectors TO=s3vectors://bucket/index)$(call need,TO,s3vectors://bucket/index)
	@$(python) -m handler.bulk load "$$FROM" "$$TO"

test: .venv/ready-dev ## run the unit, contract, golden and fuzz tests on all cores, about three minutes (TESTS=tests/unit: only those)
	@echo "Running $(or $(TESTS),$(all_tests))"
	@$(python) -m pytest $(parallel) $(or $(TESTS),-m "not emulated")

test-emulated: .venv/ready-dev ## run the tests that need an emulated S3, Lambda or AWS on all cores, about a minute
	@$(python) -m pytest $(parallel) -m emulated

coverage: .venv/ready-dev ## run the tests of both, subprocesses measured, and fail if handler/ and the recipe are covered too little
	@rm -rf build/coverage
	$(python) -m coverage run -m pytest $(parallel)
	@$(python) -m coverage combine --quiet
	@$(python) -m coverage report

# Each folder of tests/clients has an environment of its own, and the name of a group in tests/clients/pyproject.toml.
test-clients: $(patsubst %,test-clients/%,core $(if $(ALL),more proxy openai_1 openai_0)) ## test popular clients against the service (ALL=1: every supported one; needs Node 20)

test-clients/%: setup
	@export UV_PROJECT_ENVIRONMENT=.venv-$*; $(call sync,--project tests/clients --only-group $*)
	tests/clients/.venv-$*/bin/python -m pytest tests/clients/$*

test-clients/core test-clients/more: test-clients/%: tests/clients/%/node_modules/.package-lock.json

tests/clients/%/node_modules/.package-lock.json: tests/clients/%/package-lock.json
	@command -v npm >/dev/null || { echo "make: npm is missing: the JavaScript clients require Node 20 or newer" >&2; exit 1; }
	cd tests/clients/$* && npm ci

test-infra: setup ## check the template, the state machine and the Dockerfile with AWS's tools and a security scanner (needs Node 20)
	@$(call sync,--project tests/infra)
	cd tests/infra && .venv/bin/python -m pytest
	@export UV_PROJECT_ENVIRONMENT=.venv-scan; $(call sync,--project tests/infra --only-group scan)
	tests/infra/.venv-scan/bin/checkov --file template.yaml layers/Dockerfile --framework cloudformation dockerfile --compact --quiet --skip-download

test-image: .venv/ready-dev ## build the image and test it under Lambda's emulator and sam local (needs Docker, or root on Debian)
	@$(call sync,--project tests/infra)
	tests/image/engine.sh
	tests/infra/.venv/bin/sam build --parameter-overrides Architecture=$(subst aarch64,arm64,$(shell uname -m))
	$(python) -m pytest --image function:latest --soak 3000 tests/image tests/contract/test_emulator.py tests/contract/test_emulator_s3.py tests/soak/test_soak.py::test_memory_stays_flat_under_lambdas_emulator

test-deploy: .venv/ready-dev ## deploy to an emulated AWS with the SAM command line and call what was deployed (needs root on Linux, Docker or Debian)
	@$(call sync,--project tests/infra)
	@$(call sync,--project tests/deploy)
	tests/image/engine.sh
	tests/deploy/.venv/bin/python -m pytest tests/deploy/test_deploy.py

test-bulk-aws: .venv/ready-dev ## run bulk jobs and batches on the state machine of a stack in the emulated AWS (needs what test-deploy needs)
	@$(call sync,--project tests/infra)
	@$(call sync,--project tests/deploy)
	tests/image/engine.sh
	tests/deploy/.venv/bin/python -m pytest tests/deploy/test_bulk.py tests/deploy/test_batches.py

test-batches: .venv/ready-dev ## run files and batches with OpenAI's client against the local server, as test-bulk-aws also does on AWS
	@$(call sync,--project tests/deploy)
	tests/deploy/.venv/bin/python -m pytest tests/deploy/test_batches.py -k desk

test-models: .venv/ready-dev .venv/ready-recipe ## build models of real weights, publish them to a local S3 server and serve them together (ALL=1: large ones, too, with their figures)
	$(python) -m model_artifacts.recipe --full-precision
	ALL="$(ALL)" $(python) -m pytest $(if $(call flag,ALL,1),-s) tests/models

test-bulk: .venv/ready-dev ## kill bulk jobs and compare their bytes; open outputs with databases and libraries (in an environment of their own)
	@$(call sync,--project tests/bulk)
	tests/bulk/.venv/bin/python -m pytest tests/bulk/test_stores.py
	$(python) -m pytest tests/bulk/test_killed.py

page: setup
	@$(call sync,--project tests/page)
	npm --prefix tests/page ci --silent

test-page: page ## test the page of GET / in Chromium (needs Chromium or Chrome, or root on Debian; Node 20)
	tests/page/.venv/bin/python -m pytest tests/page

screenshot: page ## take the README's screenshots of the page, docs/page-light.png and docs/page-dark.png
	tests/page/.venv/bin/python -m tests.page.screenshot

test-processors: .venv/ready-dev .venv/ready-recipe ## compare vectors with those of an emulated Haswell (needs QEMU, or root on Debian; ARM64=1 adds arm64)
	tests/processors/emulators.sh $(call flag,ARM64,arm64)
	$(python) -m pytest tests/processors $(if $(EVERY),--every $(EVERY)) $(if $(call flag,ARM64,1),,--deselect tests/processors/test_processors.py::test_arm64_vectors_are_nearly_identical)

fuzz: .venv/ready-dev ## test every property with thousands of generated inputs (FUZZ_SECONDS=60 per property)
	FUZZ_SECONDS=$(or $(FUZZ_SECONDS),60) $(python) -m pytest tests/fuzz -v -s --hypothesis-profile fuzz

worst: .venv/ready-dev ## search for the request that takes the most CPU or memory (WORST_SECONDS=60 per mode and objective)
	$(python) -m benchmarks.worst --seconds $(or $(WORST_SECONDS),60)
	$(python) -m benchmarks.worst --soak $(or $(WORST_REQUESTS),5000)

mutants: .venv/ready-dev ## change a module in small ways and list the changes that no test notices (MODULE=handler/errors.py)
	$(mutmut) run "$(subst /,.,$(basename $(or $(MODULE),handler)))*"
	@$(mutmut) results | sed -n 's/^ *\(.*\): survived$$/\1/p' | xargs --no-run-if-empty -n 1 $(mutmut) show

soak: .venv/ready-dev ## send thousands of requests over loopback and through Lambda's emulator; check memory, files and threads
	$(python) -m pytest tests/soak -v -s --soak 3000

report: .venv/ready-dev ## run the attack, fault, fuzz and soak tests, and write every attempt and its outcome to build/hardening.md
	FUZZ_SECONDS=$(or $(FUZZ_SECONDS),10) $(python) -m pytest tests/contract/test_auth_attacks.py tests/contract/test_limits.py tests/contract/test_faults.py tests/fuzz tests/soak --hypothesis-profile fuzz --soak 3000 --override-ini junit_family=xunit1 --junitxml build/hardening.xml
	$(python) -m tests.report build/hardening.xml > build/hardening.md

check: .venv/ready-dev ## check formatting, lint, types and the files of GitHub
	$(python) -m ruff format --check .
	$(python) -m ruff check .
	$(python) -m mypy
	.venv/bin/zizmor --offline --quiet --strict-collection --persona pedantic .
	@$(schema)github-workflows .github/workflows/*.yml
	@$(schema)dependabot .github/dependabot.yml
	@$(schema)github-issue-forms .github/ISSUE_TEMPLATE/bug.yml .github/ISSUE_TEMPLATE/feature.yml
	@$(schema)github-issue-config .github/ISSUE_TEMPLATE/config.yml

api-key: setup ## create an API key (NAME=alice) and print it with the pair to deploy
	$(call need,NAME,alice)@$(python) -m handler.api.keys "$$NAME"

# Packages that the function never imports are left out, and a test of the image checks which it imports: tokenizers
# requires huggingface-hub for downloads, onnxruntime the next three for conversion, anyio idna for host names.
layers: setup ## export the locked packages of the images' layers from uv.lock, with hashes
	$(export) --only-group native --prune huggingface-hub --prune flatbuffers --prune protobuf --prune packaging > $(LAYERS)/1-native/requirements.txt
	$(export) --only-group service --prune idna > $(LAYERS)/2-service/requirements.txt
	$(export) --only-group bulk > $(LAYERS)/3-bulk/requirements.txt

sbom: setup ## write the image's bill of materials (SBOM=build/sbom.cdx.json) and docs/licences.md
	@mkdir -p $(dir $(SBOM)) $(dir $(LICENCES))
	@$(uv) export --frozen --quiet --format cyclonedx1.5 --preview-features sbom-export --only-group native --only-group service | $(python) layers/sbom.py bom > $(SBOM)
	@$(python) layers/sbom.py licences > $(LICENCES)

audit: setup ## check the images' packages for known vulnerabilities (needs the network)
	@$(uv) audit --frozen --preview-features audit-command --only-group native --only-group service --only-group bulk || { echo "make audit: either the vulnerabilities above were found, or the database was unreachable and nothing was checked" >&2; exit 1; }

verify-deployment: .venv/ready-dev ## check a running deployment (URL=BaseUrl, KEY=sk-...; ARM64=1, DIGEST=sha256:..., ORIGIN=https://...)
	$(call need,URL,https://.../v1 KEY=sk-...)@$(python) -m tests.deploy.verify --url "$$URL" $(if $(KEY),--key "$$KEY") $(if $(DIGEST),--digest "$$DIGEST") $(if $(ORIGIN),--origin "$$ORIGIN") $(call flag,ARM64,--arm64)

release-notes: ## print a version's section of CHANGELOG.md (VERSION=1.2.3, which must be that of pyproject.toml)
	$(call need,VERSION,1.2.3)@grep -qxF "version = \"$$VERSION\"" pyproject.toml || { echo "make release-notes: pyproject.toml has another version than $$VERSION" >&2; exit 1; }
	@awk -v head="## [$$VERSION] - " '/^## / {section = index($$0, head) == 1; next} section {print; found = 1} END {exit !found}' CHANGELOG.md || { echo "make release-notes: CHANGELOG.md has no section '## [$$VERSION] - DATE'" >&2; exit 1; }

publish: setup ## upload a model to a bucket (BUCKET=NAME, MODEL=all-MiniLM-L6-v2; DRY_RUN=1 only lists the uploads)
	$(call need,BUCKET,NAME)@$(python) -m model_artifacts.recipe.publish --bucket "$$BUCKET" --model "$(or $(MODEL),all-MiniLM-L6-v2)" $(call flag,DRY_RUN,--dry-run)

models: setup ## list the models in a bucket (BUCKET=NAME)
	$(call need,BUCKET,NAME)@$(python) -m model_artifacts.recipe.publish --bucket "$$BUCKET"

model: .venv/ready-recipe ## rebuild the bundled model, or build another (SHELF=gte-small, SOURCE=DIR or owner/name; ONNX=DIR; docs/models.md has the options)
	@$(python) -m model_artifacts.recipe $(call options,SHELF SOURCE ONNX FILE REVISION NAME PROMPTS LICENSE GOLDEN TIER STS)

models-shelf: setup ## list the models worth building, from model_artifacts/models.toml (make model SHELF=NAME builds one)
	@$(python) -m model_artifacts.recipe.shelf

image: setup ## choose the model of the next image (MODEL=e5-small-v2 or its folder) and print how to build and deploy it
	$(call need,MODEL,e5-small-v2)@$(python) -m model_artifacts.recipe.image --model "$$MODEL"

golden: setup ## record the reference vectors with sentence-transformers, in a separate environment (SOURCE=DIR or owner/name, NAME=...)
	[ -x .venv-golden/bin/pip ] || python3 -m venv .venv-golden
	.venv-golden/bin/pip install --quiet --requirement model_artifacts/recipe/golden-requirements.txt
	.venv-golden/bin/python -m model_artifacts.recipe.golden $(call options,SHELF SOURCE REVISION NAME)

vocabulary: setup ## rebuild handler/embedding/cl100k_base.bin from the package litellm
	$(python) -m pip download --quiet --no-deps --dest build litellm==1.109.1
	$(python) -m model_artifacts.recipe.cl100k build/litellm-1.109.1-*.whl

bench-cold: .venv/ready-dev ## measure cold starts by phase and import, compared with a typical implementation and a baseline
	$(uv) run --frozen --with aws-xray-sdk==2.15.0 python -m benchmarks.cold

# The peers have their own environments. They are installed by pip, whose configuration may name an index for PyTorch.
peers := fastembed sentence-transformers ctranslate2 openvino infinity

build/peers/%/ready: benchmarks/peers/%.txt | setup
	rm -rf build/peers/$* && $(python) -m venv build/peers/$*
	build/peers/$*/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

bench: .venv/ready-dev .venv/ready-recipe $(peers:%=build/peers/%/ready) ## compare the project with its peers, write the README's tables and plot (STS=FILE uses STS-B; SECTIONS="speed http" only these; AVX2=1 hides AVX-512)
	$(if $(AVX2),$(python) -m benchmarks.avx2,$(uv) run --frozen --with aws-xray-sdk==2.15.0 python -m benchmarks.suite) $(if $(STS),--sts $(STS)) $(SECTIONS)
	$(uv) run --frozen --group recipe --with matplotlib==3.11.2 python -m benchmarks.report.readme

bench-models: .venv/ready-dev .venv/ready-recipe ## measure the bundled model and those of the shelf in build/models/, and write the tables of docs/models.md (STS=FILE)
	$(python) -m benchmarks.models $(if $(STS),--sts $(STS))

bench-lambda: .venv/ready-dev ## measure a deployment (URL=BaseUrl, KEY=sk-...); STACK=embeddings reads its log, and writes the README's table
	$(call need,URL,https://.../v1 KEY=sk-... STACK=embeddings)@$(python) -m benchmarks.deployment --url "$$URL" $(if $(KEY),--key "$$KEY") $(if $(STACK),--stack "$$STACK")

bench-instructions: .venv/ready-dev ## count instructions under valgrind and compare with the record (RECORD=1 writes it)
	@command -v valgrind >/dev/null || { apt-get update -qq && apt-get install -qq --no-install-recommends valgrind >/dev/null; } || { echo "make: valgrind is missing: install Debian's package valgrind" >&2; exit 1; }
	$(python) -m benchmarks.instructions $(call flag,RECORD,--record)

.DEFAULT_GOAL := help
.PHONY: help setup run embed test test-clients test-infra test-image test-models check api-key layers publish models sbom audit report test-processors fuzz soak model golden vocabulary bench bench-cold bench-instructions
SHELL := bash
export UV_PYTHON_DOWNLOADS := never
# The service does without the Makefile; this is for the commands beside it.
export ORT_DISABLE_TELEMETRY := 1

PORT ?= 3000
uv := .venv/bin/uv
python := .venv/bin/python
export = $(uv) export --frozen --quiet --no-annotate --no-header
LAYERS ?= layers
SBOM ?= build/sbom.cdx.json
LICENCES ?= docs/licences.md
# The version that uv.lock pins is the one that reads it.
uv_version = $(shell sed -n '/^name = "uv"$$/{n;s/version = "\(.*\)"/\1/p;}' uv.lock)

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/ready ## install what is needed into .venv (python3 >= 3.11 with venv is all it asks for)

.venv/ready: pyproject.toml uv.lock
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: python3 is $$(python3 -V 2>&1); 3.11 or newer is needed" >&2; exit 1; }
	@[ -x $(uv) ] || { echo "Preparing .venv (once, about half a minute)"; python3 -m venv .venv && $(python) -m pip install --quiet --disable-pip-version-check uv==$(uv_version); }
	@$(uv) sync --frozen --quiet && touch $@

run: setup ## serve http://127.0.0.1:3000 (PORT=... changes it)
	@$(python) -m handler.local --port $(PORT)

embed: setup ## print one text's vector (TEXT="...")
	@$(python) -m handler.local -- "$${TEXT:?say which text: make embed TEXT='...'}"

test: setup ## run the tests
	$(python) -m pytest

test-clients: setup ## run the clients that people use against the service (Node 20 for the JavaScript ones)
	$(uv) sync --project tests/clients --frozen --quiet
	tests/clients/.venv/bin/python -m pytest tests/clients

test-infra: setup ## check the template and the image's recipe with AWS's own tools and a security scanner
	$(uv) sync --project tests/infra --frozen --quiet
	cd tests/infra && .venv/bin/python -m pytest
	UV_PROJECT_ENVIRONMENT=.venv-scan $(uv) sync --project tests/infra --frozen --quiet --only-group scan
	tests/infra/.venv-scan/bin/checkov --file template.yaml layers/Dockerfile --framework cloudformation dockerfile --compact --quiet --skip-download

test-image: setup ## build the image and run it under Lambda's emulator and sam local (Docker, or root on Debian)
	$(uv) sync --project tests/infra --frozen --quiet
	tests/image/engine.sh
	tests/infra/.venv/bin/sam build
	$(python) -m pytest --image function:latest --soak 3000 tests/image tests/contract/test_emulator.py tests/contract/test_emulator_s3.py tests/soak/test_soak.py::test_memory_stays_flat_under_lambdas_emulator

test-models: setup ## build the model at full precision, publish it to an S3 server here, and serve it beside the bundled one
	$(uv) run --frozen --group recipe python -m model_artifacts.recipe --full-precision
	$(python) -m pytest tests/models

test-processors: setup ## the golden texts on an emulated Haswell (QEMU, or root on Debian; ARM64=1: on arm64, too)
	tests/processors/emulators.sh $(if $(ARM64),arm64)
	$(python) -m pytest tests/processors $(if $(EVERY),--every $(EVERY)) $(if $(ARM64),,--deselect tests/processors/test_processors.py::test_arm64_vectors_are_nearly_identical)

fuzz: setup ## try every property on thousands of generated inputs (FUZZ_SECONDS=60 for each)
	FUZZ_SECONDS=$(or $(FUZZ_SECONDS),60) $(python) -m pytest tests/fuzz -v -s --hypothesis-profile fuzz

soak: setup ## thousands of mixed requests over loopback and through Lambda's emulator; memory, files and threads flat
	$(python) -m pytest tests/soak -v -s --soak 3000

report: setup ## attack, break, fuzz and soak it, and write what happened to docs/hardening.md
	FUZZ_SECONDS=$(or $(FUZZ_SECONDS),10) $(python) -m pytest tests/contract/test_auth_attacks.py tests/contract/test_limits.py tests/contract/test_faults.py tests/fuzz tests/soak --hypothesis-profile fuzz --soak 3000 --override-ini junit_family=xunit1 --junitxml build/hardening.xml
	$(python) -m tests.report build/hardening.xml > docs/hardening.md

check: setup ## format, lint and type check
	$(python) -m ruff format --check .
	$(python) -m ruff check .
	$(python) -m mypy

api-key: setup ## make an API key (NAME=alice): shows it once, and the pair to deploy
	@$(python) -m handler.api.keys "$${NAME:?say whose: make api-key NAME=alice}"

# What the function never imports stays out, and a test of the image says what it imports: tokenizers asks for
# huggingface-hub to download, onnxruntime for the next three to convert, anyio for idna to look up hosts.
layers: setup ## export the packages of the image's layers from uv.lock, with their hashes
	$(export) --only-group native --prune huggingface-hub --prune flatbuffers --prune protobuf --prune packaging > $(LAYERS)/1-native/requirements.txt
	$(export) --only-group service --prune idna > $(LAYERS)/2-service/requirements.txt

sbom: setup ## write the image's bill of materials (SBOM=build/sbom.cdx.json), and docs/licences.md
	@mkdir -p $(dir $(SBOM)) $(dir $(LICENCES))
	@$(uv) export --frozen --quiet --format cyclonedx1.5 --preview-features sbom-export --only-group native --only-group service | $(python) layers/sbom.py bom > $(SBOM)
	@$(python) layers/sbom.py licences > $(LICENCES)

audit: setup ## look for known vulnerabilities in what the image ships (needs the network)
	@$(uv) audit --frozen --preview-features audit-command --only-group native --only-group service || { echo "make audit: either the above was found, or the database could not be reached and nothing was checked" >&2; exit 1; }

publish: setup ## put a model into a bucket (BUCKET=NAME, MODEL=all-MiniLM-L6-v2, DRY_RUN=1 only says what it would do)
	@$(python) -m model_artifacts.recipe.publish --bucket "$${BUCKET:?say where: make publish BUCKET=NAME}" --model "$(or $(MODEL),all-MiniLM-L6-v2)" $(if $(DRY_RUN),--dry-run)

models: setup ## list the models in a bucket (BUCKET=NAME)
	@$(python) -m model_artifacts.recipe.publish --bucket "$${BUCKET:?say where: make models BUCKET=NAME}"

model: setup ## rebuild the model artifact (SOURCE=DIR: any BERT encoder; STS=FILE: also measure on STS-B)
	$(uv) run --frozen --group recipe python -m model_artifacts.recipe $(if $(SOURCE),--source $(SOURCE)) $(if $(STS),--sts $(STS))

golden: setup ## record the reference vectors anew with sentence-transformers, in an environment of its own
	[ -x .venv-golden/bin/pip ] || python3 -m venv .venv-golden
	.venv-golden/bin/pip install --quiet --requirement model_artifacts/recipe/golden-requirements.txt
	.venv-golden/bin/python -m model_artifacts.recipe.golden $(if $(SOURCE),--source $(SOURCE))

vocabulary: setup ## pack OpenAI's cl100k_base anew, from the package that carries it
	$(python) -m pip download --quiet --no-deps --dest build litellm==1.109.1
	$(python) -m model_artifacts.recipe.cl100k build/litellm-1.109.1-*.whl

bench-cold: setup ## measure a cold start by phase and import, beside a common way to write it and the least there is
	$(uv) run --frozen --with aws-xray-sdk==2.15.0 python -m benchmarks.cold

# Its peers stay in environments of their own; pip, not uv, for it takes PyTorch from wherever it is set up to.
peers := fastembed sentence-transformers infinity

build/peers/%/ready: benchmarks/peers/%.txt | setup
	rm -rf build/peers/$* && $(python) -m venv build/peers/$*
	build/peers/$*/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

bench: setup $(peers:%=build/peers/%/ready) ## measure the project beside its peers, write the README's table and plot (STS=FILE: on STS-B)
	$(uv) run --frozen --group recipe --with aws-xray-sdk==2.15.0 --with matplotlib==3.11.2 python -m benchmarks.suite $(if $(STS),--sts $(STS))

bench-instructions: setup ## count instructions under valgrind and compare with those committed (RECORD=1 writes them)
	@command -v valgrind >/dev/null || { apt-get update -qq && apt-get install -qq --no-install-recommends valgrind >/dev/null; } || { echo "make: valgrind is missing: install Debian's package valgrind" >&2; exit 1; }
	$(python) -m benchmarks.instructions $(if $(RECORD),--record)

# Everything that is done here more than once. `just` alone lists it.

_default:
    @just --list

# What README calls first: all policies on a built-in day.
simulate *ARGS:
    cargo run --release -- simulate {{ARGS}}

# Format, lints, tests, licence audit: what CI runs. Installs what it needs.
test:
    tests/run

# The tests alone.
unit *ARGS:
    cargo test --workspace {{ARGS}}

# Lints alone.
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings

# Benchmarks of the hot paths.
bench *ARGS:
    cargo bench --workspace {{ARGS}}

# Fuzzes a parser (body, exchange, manifests, page, question) for so long; needs nightly and cargo-fuzz.
# What it finds goes to fuzz/corpus with its fix; new inputs are kept in .cache.
fuzz TARGET SECONDS="60":
    mkdir -p .cache/fuzz/{{TARGET}}
    cargo +nightly fuzz run -s none --target-dir .cache/fuzz/target {{TARGET}} .cache/fuzz/{{TARGET}} \
        fuzz/corpus/{{TARGET}} -- -max_total_time={{SECONDS}}

# What the gate costs behind a real Envoy, against a picker that does nothing. Envoy as tests/run
# installs it, or the one that $ENVOY names.
bench-gate *ARGS:
    ENVOY="${ENVOY:-$(echo .cache/tools/envoy/lib/python3*/site-packages/envoy/_bin/envoy)}" \
        cargo run --release -- bench-gate {{ARGS}}

# Three times what fits, through the proxy: capacity used, what each tier notices and gets.
bench-overload *ARGS:
    cargo run --release -- bench-overload {{ARGS}}

# Engine profiles again from the published tables in DIR.
profiles DIR:
    cargo run --release -- profiles --data {{DIR}} --out policies/profiles

# Accept changed golden files after reading them.
golden:
    INSTA_UPDATE=always cargo test --workspace

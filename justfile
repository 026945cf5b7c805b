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

# Engine profiles again from the published tables in DIR.
profiles DIR:
    cargo run --release -- profiles --data {{DIR}} --out policies/profiles

# Accept changed golden files after reading them.
golden:
    INSTA_UPDATE=always cargo test --workspace

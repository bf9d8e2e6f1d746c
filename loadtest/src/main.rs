//! The program: everything is in the library, so that its parsers can be fuzzed.

/// A thousand clients touch a few lines of memory each for every packet: in huge pages, which this one asks for, that costs less.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    duocast_loadtest::main()
}

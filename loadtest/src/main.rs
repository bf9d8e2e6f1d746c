//! The program: everything is in the library, so that its parsers can be fuzzed.

fn main() -> std::process::ExitCode {
    duocast_loadtest::main()
}

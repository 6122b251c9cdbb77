//! The `galleria` command.

fn main() -> std::process::ExitCode {
    galleria::main()
}

//! closewatch: arguments in, exit status out.

fn main() -> std::process::ExitCode {
    closewatch::cli::run()
}

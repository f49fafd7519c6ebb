//! Compiles the .proto files with `protox`: no `protoc` on the machine is needed.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let files = [
        "proto/cloudquery/plugin/v3/plugin.proto",
        "proto/cloudquery/discovery/v1/discovery.proto",
    ];
    for file in files {
        println!("cargo::rerun-if-changed={file}");
    }
    let descriptors = protox::compile(files, ["proto"])?;
    tonic_prost_build::configure()
        // Payloads are slices of what the transport received, and are shared between destinations.
        .bytes(".")
        .compile_fds(descriptors)?;
    Ok(())
}

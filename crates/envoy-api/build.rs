//! Generates Envoy's types from the `.proto` files that ship inside the `envoy-types` crate.

#![allow(
    clippy::disallowed_methods,
    reason = "cargo speaks to build scripts through the environment"
)]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use cargo_metadata::{Metadata, MetadataCommand};
use prost_reflect::prost::Message as _;

/// The roots in use. Everything they import comes along; compiling all of the
/// shipped files at once does not resolve (two files declare one symbol).
const ROOTS: &[&str] = &[
    "envoy/config/cluster/v3/cluster.proto",
    "envoy/config/endpoint/v3/endpoint.proto",
    "envoy/config/listener/v3/listener.proto",
    "envoy/config/route/v3/route.proto",
    "envoy/extensions/access_loggers/file/v3/file.proto",
    "envoy/extensions/access_loggers/stream/v3/stream.proto",
    "envoy/extensions/compression/brotli/compressor/v3/brotli.proto",
    "envoy/extensions/compression/gzip/compressor/v3/gzip.proto",
    "envoy/extensions/compression/zstd/compressor/v3/zstd.proto",
    "envoy/extensions/filters/http/compressor/v3/compressor.proto",
    "envoy/extensions/filters/http/cors/v3/cors.proto",
    "envoy/extensions/filters/http/custom_response/v3/custom_response.proto",
    "envoy/extensions/filters/http/ext_authz/v3/ext_authz.proto",
    "envoy/extensions/filters/http/fault/v3/fault.proto",
    "envoy/extensions/filters/http/rbac/v3/rbac.proto",
    "envoy/extensions/filters/http/router/v3/router.proto",
    "envoy/extensions/filters/listener/proxy_protocol/v3/proxy_protocol.proto",
    "envoy/extensions/filters/http/stateful_session/v3/stateful_session.proto",
    "envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector.proto",
    "envoy/extensions/filters/network/connection_limit/v3/connection_limit.proto",
    "envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto",
    "envoy/extensions/filters/network/rbac/v3/rbac.proto",
    "envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy.proto",
    "envoy/extensions/http/header_formatters/preserve_case/v3/preserve_case.proto",
    "envoy/extensions/load_balancing_policies/least_request/v3/least_request.proto",
    "envoy/extensions/load_balancing_policies/random/v3/random.proto",
    "envoy/extensions/load_balancing_policies/ring_hash/v3/ring_hash.proto",
    "envoy/extensions/load_balancing_policies/round_robin/v3/round_robin.proto",
    "envoy/extensions/http/stateful_session/cookie/v3/cookie.proto",
    "envoy/extensions/retry/host/previous_hosts/v3/previous_hosts.proto",
    "envoy/extensions/retry/priority/previous_priorities/v3/previous_priorities_config.proto",
    "envoy/extensions/transport_sockets/proxy_protocol/v3/upstream_proxy_protocol.proto",
    "envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer.proto",
    "envoy/extensions/transport_sockets/tls/v3/tls.proto",
    "envoy/extensions/upstreams/http/v3/http_protocol_options.proto",
    "envoy/service/auth/v3/external_auth.proto",
    "envoy/service/discovery/v3/discovery.proto",
];

/// The folders inside the crate's `proto` folder that imports are resolved against.
const INCLUDES: &[&str] = &[
    "cel-spec/proto",
    "client_model",
    "data-plane-api",
    "googleapis",
    "opentelemetry-proto",
    "protoc-gen-validate",
    "xds",
];

fn main() -> Result<(), Box<dyn Error>> {
    let protos = proto_folder()?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let includes: Vec<PathBuf> = INCLUDES.iter().map(|folder| protos.join(folder)).collect();

    let mut descriptors = protox::Compiler::new(&includes)?
        .include_imports(true)
        .include_source_info(false)
        .open_files(ROOTS)?
        .file_descriptor_set();
    for file in &mut descriptors.file {
        file.source_code_info = None;
    }
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;

    // Ordered maps make equal content equal bytes; `Bytes` lets decoded parts share one buffer.
    // Comments are left out: Envoy's documentation is not rustdoc, and its code blocks would be
    // compiled as tests.
    let mut prost = prost_build::Config::new();
    prost
        .btree_map(["."])
        .bytes(["."])
        .enable_type_names()
        .type_name_domain(["."], "type.googleapis.com")
        .disable_comments(["."])
        .include_file("envoy.rs")
        .compile_fds(descriptors)?;
    println!("cargo::rerun-if-changed=build.rs");
    Ok(())
}

/// Where the `.proto` files of `envoy-types` lie on this machine.
fn proto_folder() -> Result<PathBuf, Box<dyn Error>> {
    // The crate itself was just built, so its sources are here. But cargo describes the workspace
    // only as a whole, and a build does not fetch what only tests and benches need: where such a
    // package is missing the offline answer is an error, and the second call fetches it.
    let metadata = metadata(&["--offline"]).or_else(|_| metadata(&[]))?;
    let package = metadata
        .packages
        .iter()
        .find(|package| package.name.as_str() == "envoy-types")
        .ok_or("envoy-types is not among the dependencies of envoy-api")?;
    let folder = package
        .manifest_path
        .parent()
        .ok_or("the manifest of envoy-types lies in no folder")?
        .join("proto");
    Ok(folder.into_std_path_buf())
}

fn metadata(options: &[&str]) -> Result<Metadata, Box<dyn Error>> {
    let manifest = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("Cargo.toml");
    // Without the platform, cargo would want the packages of every other platform too.
    let platform = env::var("HOST")?;
    let always = ["--locked", "--filter-platform", &platform];
    let options = always.iter().chain(options);
    Ok(MetadataCommand::new()
        .manifest_path(manifest)
        .other_options(
            options
                .map(|option| (*option).to_owned())
                .collect::<Vec<_>>(),
        )
        .exec()?)
}

//! The discovery services of Envoy's API: which method begins which stream.

use std::convert::Infallible;

use envoy_api::envoy::service::cluster::v3::cluster_discovery_service_server as cds;
use envoy_api::envoy::service::discovery::v3::aggregated_discovery_service_server as ads;
use envoy_api::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use envoy_api::envoy::service::endpoint::v3::endpoint_discovery_service_server as eds;
use envoy_api::envoy::service::listener::v3::listener_discovery_service_server as lds;
use envoy_api::envoy::service::route::v3::route_discovery_service_server as rds;
use envoy_api::envoy::service::secret::v3::secret_discovery_service_server as sds;
use http::Request as HttpRequest;
use hyper::body::Incoming;
use tonic::codegen::Service as _;
use tonic::{Request, Response, Status, Streaming};

use super::wire::{Delta, World};
use super::{Answers, Grpc};
use crate::snapshot::Kind;

type Opened<T> = Result<Response<Answers<T>>, Status>;

/// Calls the method that the path names, for requests of up to so many bytes each.
pub(super) async fn call(
    grpc: &Grpc,
    limit: usize,
    request: HttpRequest<Incoming>,
) -> http::Response<tonic::body::Body> {
    // "/envoy.service.cluster.v3.ClusterDiscoveryService/StreamClusters"
    let service = request.uri().path().split('/').nth(1).unwrap_or_default();
    let grpc = grpc.clone();
    let answered: Result<_, Infallible> = match service {
        ads::SERVICE_NAME => {
            let server = ads::AggregatedDiscoveryServiceServer::new(grpc);
            server.max_decoding_message_size(limit).call(request).await
        }
        cds::SERVICE_NAME => {
            let server = cds::ClusterDiscoveryServiceServer::new(grpc);
            server.max_decoding_message_size(limit).call(request).await
        }
        eds::SERVICE_NAME => {
            let server = eds::EndpointDiscoveryServiceServer::new(grpc);
            server.max_decoding_message_size(limit).call(request).await
        }
        lds::SERVICE_NAME => {
            let server = lds::ListenerDiscoveryServiceServer::new(grpc);
            server.max_decoding_message_size(limit).call(request).await
        }
        rds::SERVICE_NAME => {
            let server = rds::RouteDiscoveryServiceServer::new(grpc);
            server.max_decoding_message_size(limit).call(request).await
        }
        sds::SERVICE_NAME => {
            let server = sds::SecretDiscoveryServiceServer::new(grpc);
            server.max_decoding_message_size(limit).call(request).await
        }
        _ => Ok(Status::unimplemented("there is no such service").into_http()),
    };
    match answered {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

#[tonic::async_trait]
impl ads::AggregatedDiscoveryService for Grpc {
    type StreamAggregatedResourcesStream = Answers<DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = Answers<DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Opened<DiscoveryResponse> {
        self.open::<World>(None, request.into_inner())
            .map(Response::new)
    }

    async fn delta_aggregated_resources(
        &self,
        request: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> Opened<DeltaDiscoveryResponse> {
        self.open::<Delta>(None, request.into_inner())
            .map(Response::new)
    }
}

/// A service of one kind: each differs from the others in nothing but its names.
macro_rules! service {
    ($kind:ident, $service:path, $stream:ident $Stream:ident, $delta:ident $Delta:ident, $fetch:ident) => {
        #[tonic::async_trait]
        impl $service for Grpc {
            type $Stream = Answers<DiscoveryResponse>;
            type $Delta = Answers<DeltaDiscoveryResponse>;

            async fn $stream(
                &self,
                request: Request<Streaming<DiscoveryRequest>>,
            ) -> Opened<DiscoveryResponse> {
                let requests = request.into_inner();
                self.open::<World>(Some(Kind::$kind), requests)
                    .map(Response::new)
            }

            async fn $delta(
                &self,
                request: Request<Streaming<DeltaDiscoveryRequest>>,
            ) -> Opened<DeltaDiscoveryResponse> {
                let requests = request.into_inner();
                self.open::<Delta>(Some(Kind::$kind), requests)
                    .map(Response::new)
            }

            async fn $fetch(
                &self,
                request: Request<DiscoveryRequest>,
            ) -> Result<Response<DiscoveryResponse>, Status> {
                self.fetch(Kind::$kind, request.into_inner())
                    .await
                    .map(Response::new)
            }
        }
    };
}

service!(
    Cluster,
    cds::ClusterDiscoveryService,
    stream_clusters StreamClustersStream,
    delta_clusters DeltaClustersStream,
    fetch_clusters
);
service!(
    Endpoint,
    eds::EndpointDiscoveryService,
    stream_endpoints StreamEndpointsStream,
    delta_endpoints DeltaEndpointsStream,
    fetch_endpoints
);
service!(
    Listener,
    lds::ListenerDiscoveryService,
    stream_listeners StreamListenersStream,
    delta_listeners DeltaListenersStream,
    fetch_listeners
);
service!(
    Route,
    rds::RouteDiscoveryService,
    stream_routes StreamRoutesStream,
    delta_routes DeltaRoutesStream,
    fetch_routes
);
service!(
    Secret,
    sds::SecretDiscoveryService,
    stream_secrets StreamSecretsStream,
    delta_secrets DeltaSecretsStream,
    fetch_secrets
);

use super::v1::health_server::Health as _;
use super::*;

fn about(service: &str) -> Request<HealthCheckRequest> {
    Request::new(HealthCheckRequest { service: service.into() })
}

#[tokio::test]
async fn point_15_health_follows_readiness_under_every_name() {
    let (tell, ready) = watch::channel(false);
    let health = Health::new(ready);
    for (is_ready, expected) in [(false, ServingStatus::NotServing), (true, ServingStatus::Serving)]
    {
        tell.send_replace(is_ready);
        for name in [PICKER_SERVICE, "", "readiness"] {
            let reply = health.check(about(name)).await.unwrap().into_inner();
            assert_eq!(reply.status(), expected, "{name}");
        }
        let alive = health.check(about("liveness")).await.unwrap().into_inner();
        assert_eq!(alive.status(), ServingStatus::Serving);
    }
    let error = health.check(about("nobody")).await.unwrap_err();
    assert_eq!(error.code(), tonic::Code::NotFound);
}

#[tokio::test]
async fn a_watch_tells_changes() {
    let (tell, ready) = watch::channel(false);
    let health = Health::new(ready);
    let mut changes = health.watch(about("")).await.unwrap().into_inner();
    let mut next = async || changes.next().await.unwrap().unwrap().status();
    assert_eq!(next().await, ServingStatus::NotServing);
    tell.send_replace(true);
    assert_eq!(next().await, ServingStatus::Serving);
    let mut unknown = health.watch(about("nobody")).await.unwrap().into_inner();
    let reply = unknown.next().await.unwrap().unwrap();
    assert_eq!(reply.status(), ServingStatus::ServiceUnknown);
}

//! Tables of journeys that are the same over each transport.

/// Makes three tests of each journey, `over_rest`, `over_ads` and `over_ads_delta`: of an async
/// function of a transport, or, with `name: function(arguments)`, of one that takes more.
macro_rules! over_each_transport {
    ($($journey:ident;)+) => {
        over_each_transport! { $($journey: $journey();)+ }
    };
    ($($name:ident: $journey:ident($($argument:expr),*);)+) => { $(
        mod $name {
            use super::*;

            #[tokio::test]
            async fn over_rest() {
                $journey(Transport::Rest $(, $argument)*).await;
            }

            #[tokio::test]
            async fn over_ads() {
                $journey(Transport::Ads $(, $argument)*).await;
            }

            #[tokio::test]
            async fn over_ads_delta() {
                $journey(Transport::AdsDelta $(, $argument)*).await;
            }
        }
    )+ };
}

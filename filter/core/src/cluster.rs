//! Which upstream cluster a variant means.

/// Whether the cluster that served is the one meant (see [`VariantConfig::cluster`](crate::config::VariantConfig)): its
/// whole name or, where what is meant begins with `|`, the end of it.
pub fn is_meant(meant: &str, served: &[u8]) -> bool {
    if meant.starts_with('|') {
        served.ends_with(meant.as_bytes())
    } else {
        served == meant.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::is_meant;

    const SERVED: &[u8] = b"outbound|8080|v8|fraud.ml.svc.cluster.local";

    #[test]
    fn a_name_is_compared_whole() {
        assert!(is_meant("fraud-v8", b"fraud-v8"));
        for other in ["fraud-v", "v8", "raud-v8", "fraud-v8x", ""] {
            assert!(!is_meant(other, b"fraud-v8"), "{other}");
        }
    }

    #[test]
    fn what_begins_with_a_bar_is_the_end_of_a_name_whatever_the_port() {
        let meant = "|v8|fraud.ml.svc.cluster.local";
        assert!(is_meant(meant, SERVED));
        assert!(is_meant(
            meant,
            b"outbound|80|v8|fraud.ml.svc.cluster.local"
        ));
        assert!(is_meant("||fraud.ml", b"outbound|80||fraud.ml"));
    }

    #[test]
    fn another_subset_or_host_is_not_meant() {
        for other in [
            "|v7|fraud.ml.svc.cluster.local",
            "||fraud.ml.svc.cluster.local",
            "|8|fraud.ml.svc.cluster.local",
            "|v8|fraud.ml.svc.cluster",
            "|v8|",
        ] {
            assert!(!is_meant(other, SERVED), "{other}");
        }
        assert!(!is_meant("|v8|fraud.ml", b"outbound|80|xv8|fraud.ml"));
        assert!(!is_meant("|v8|fraud.ml", b"v8|fraud.ml"));
    }
}

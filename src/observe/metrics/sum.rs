use std::collections::HashMap;

use prometheus::proto::{Metric, MetricFamily, MetricType};

/// Where the series of a family are, by their labels.
pub type Places = HashMap<Vec<String>, usize>;

/// The values of its labels.
pub fn labels(metric: &Metric) -> Vec<String> {
    metric.get_label().iter().map(|label| label.value().to_owned()).collect()
}

/// Adds a family to the sum of those before it.
pub fn add(sum: &mut MetricFamily, places: &mut Places, family: MetricFamily) {
    let kind = family.get_field_type();
    for metric in family.get_metric() {
        let known = places.get(&labels(metric)).copied();
        match known.and_then(|place| sum.mut_metric().get_mut(place)) {
            Some(known) => add_metric(known, metric, kind),
            None => {
                places.insert(labels(metric), sum.get_metric().len());
                sum.mut_metric().push(metric.clone());
            }
        }
    }
}

fn add_metric(sum: &mut Metric, metric: &Metric, kind: MetricType) {
    match kind {
        MetricType::COUNTER => {
            let mut counter = sum.get_counter().clone();
            counter.set_value(counter.get_value() + metric.get_counter().get_value());
            sum.set_counter(counter);
        }
        MetricType::GAUGE => {
            let mut gauge = sum.get_gauge().clone();
            gauge.set_value(gauge.get_value() + metric.get_gauge().get_value());
            sum.set_gauge(gauge);
        }
        MetricType::HISTOGRAM => {
            let (mut histogram, other) = (sum.get_histogram().clone(), metric.get_histogram());
            let mut buckets = histogram.get_bucket().to_vec();
            for (bucket, other) in buckets.iter_mut().zip(other.get_bucket()) {
                bucket.set_cumulative_count(bucket.cumulative_count() + other.cumulative_count());
            }
            histogram.set_bucket(buckets);
            histogram.set_sample_sum(histogram.get_sample_sum() + other.get_sample_sum());
            histogram.set_sample_count(histogram.get_sample_count() + other.get_sample_count());
            sum.set_histogram(histogram);
        }
        _ => {}
    }
}

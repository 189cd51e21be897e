//! `device` and `dtype`: where a model computes, and on what.

use serde::Deserialize;
use serde_saphyr::Spanned;

use super::{Checker, MAX_INSTANCES};
use crate::{
    device::Device,
    tensor::{Datatype, shorten},
};

/// As the file has it: `cuda:0`, or `[cuda:0, cuda:1]`.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Devices {
    One(String),
    Several(Vec<String>),
}

impl Checker<'_> {
    /// So many instances on each of the devices.
    pub(super) fn instances(&mut self, each: usize, at: Option<&Spanned<Devices>>) -> Vec<Device> {
        let Some(at) = at else {
            return vec![Device::Cpu; each];
        };
        let names = match &at.value {
            Devices::One(name) => std::slice::from_ref(name),
            Devices::Several(names) => names,
        };
        let mut devices = Vec::new();
        for name in names {
            match name.parse() {
                Ok(device) if devices.contains(&device) => {
                    let what = format!("'device' has '{device}' twice");
                    let why = "each of its devices has as many instances as 'instances' says";
                    self.refuse(at, what, why, "name it once, and raise 'instances'");
                }
                Ok(device) => devices.push(device),
                Err(error) => {
                    let what = format!("'device' is '{}'", shorten(name));
                    let why = format!("{error}");
                    self.refuse(at, what, why, "write cpu, cuda:0, or [cuda:0, cuda:1]");
                }
            }
        }
        let count = devices.len().saturating_mul(each);
        if names.is_empty() || count as u64 > MAX_INSTANCES {
            let what = format!("'device' and 'instances' make {count} instances");
            let why = format!("a model has 1 to {MAX_INSTANCES}");
            self.refuse(at, what, why, "name fewer devices, or lower 'instances'");
        }
        let rounds = std::iter::repeat_n(devices, each);
        rounds.flatten().collect()
    }

    pub(super) fn dtype(&mut self, at: Option<&Spanned<String>>) -> Option<Datatype> {
        let at = at?;
        let dtype = at.value.parse().ok();
        let real = dtype.filter(|it: &Datatype| it.is_real());
        if real.is_none() {
            let what = format!("'dtype' is '{}'", shorten(&at.value));
            let why = "it is what the weights and inputs of the model are turned into";
            self.refuse(at, what, why, "write FP16, BF16, FP32 or FP64");
        }
        real
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repository::model_yaml::serving::tests::read;

    #[test]
    fn each_device_has_as_many_instances() {
        use Device::{Cpu, Cuda};
        for (more, wanted) in [
            ("", vec![Cpu]),
            ("instances: 2", vec![Cpu, Cpu]),
            ("device: cpu", vec![Cpu]),
            ("device: cuda", vec![Cuda(0)]),
            (
                "device: [cuda:0, cuda:1]\ninstances: 2",
                vec![Cuda(0), Cuda(1), Cuda(0), Cuda(1)],
            ),
        ] {
            assert_eq!(read(more).unwrap().instances, wanted, "{more}");
        }
    }

    #[test]
    fn what_is_no_device_and_no_number_is_refused_by_line() {
        for (more, wanted) in [
            (
                "device: gpu",
                "model.yaml:3: 'device' is 'gpu': it is cpu, cuda, or ",
            ),
            (
                "device: []",
                "model.yaml:3: 'device' and 'instances' make 0 instances: ",
            ),
            (
                "device: [cuda, cuda:0]",
                "model.yaml:3: 'device' has 'cuda:0' twice: ",
            ),
            (
                "device: [cuda:0, cuda:1]\ninstances: 33",
                "model.yaml:3: 'device' and 'instances' make 66 instances: ",
            ),
            ("dtype: INT8", "model.yaml:3: 'dtype' is 'INT8': "),
            ("dtype: half", "model.yaml:3: 'dtype' is 'half': "),
        ] {
            let error = read(more).unwrap_err();
            assert!(error.starts_with(wanted), "{error}");
        }
    }

    #[test]
    fn a_model_may_compute_on_shorter_numbers() {
        assert_eq!(read("dtype: BF16").unwrap().dtype, Some(Datatype::Bf16));
        assert_eq!(read("").unwrap().dtype, None);
    }
}

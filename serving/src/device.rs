//! Where a model computes.

use std::{fmt, str::FromStr};

/// A device of libtorch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Device {
    /// The processor.
    #[default]
    Cpu,
    /// A GPU, by CUDA's number for it.
    Cuda(u8),
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

/// A text that names no device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is cpu, cuda, or cuda: and a number, as PyTorch calls them")]
pub struct NoDevice;

impl FromStr for Device {
    type Err = NoDevice;

    fn from_str(text: &str) -> Result<Self, NoDevice> {
        match text {
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => {
                let index = text.strip_prefix("cuda:").ok_or(NoDevice)?;
                // PyTorch numbers them by a signed byte.
                let index = index.parse().ok().filter(|it| *it <= i8::MAX as u8);
                index.map(Self::Cuda).ok_or(NoDevice)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_called_as_pytorch_calls_them() {
        for (text, device) in [
            ("cpu", Some(Device::Cpu)),
            ("cuda", Some(Device::Cuda(0))),
            ("cuda:0", Some(Device::Cuda(0))),
            ("cuda:127", Some(Device::Cuda(127))),
            ("cuda:128", None),
            ("cuda:", None),
            ("cuda:-1", None),
            ("CPU", None),
            ("gpu", None),
            ("", None),
        ] {
            assert_eq!(text.parse().ok(), device, "{text}");
        }
        assert_eq!(Device::Cuda(1).to_string(), "cuda:1");
    }
}

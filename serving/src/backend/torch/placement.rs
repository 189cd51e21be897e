//! Where a module computes and on what, and how its inputs and outputs get there and back.

use std::path::Path;

use tch::{TchError, Tensor};

use super::{cuda, datatype, kind, module::Module};
use crate::{device::Device, tensor::Datatype};

/// The device of an instance, and the datatype of its numbers, if another than they were saved as.
pub(super) struct Placement {
    device: tch::Device,
    kind: Option<tch::Kind>,
}

impl Placement {
    /// Of the thread that calls it, from then on.
    ///
    /// # Errors
    /// Why the device is not there.
    pub(super) fn new(device: Device, dtype: Option<Datatype>) -> Result<Self, String> {
        let device = match device {
            Device::Cpu => tch::Device::Cpu,
            Device::Cuda(index) => {
                cuda::check(index)?;
                cuda::use_own_stream(index)?;
                tch::Device::Cuda(index.into())
            }
        };
        Ok(Self {
            device,
            kind: dtype.map(kind),
        })
    }

    /// Loads a module there.
    pub(super) fn load(&self, file: &Path) -> Result<Module, TchError> {
        let module = Module::load(file, self.device)?;
        if let Some(kind) = self.kind {
            module.turn_into(self.device, kind)?;
        }
        Ok(module)
    }

    /// An input as the module takes it: numbers that count or name something stay what they are.
    pub(super) fn bring(&self, input: Tensor) -> Result<Tensor, TchError> {
        let own = input.f_kind()?;
        let wanted = self.kind.filter(|_| is_real(own)).unwrap_or(own);
        if self.device == tch::Device::Cpu && wanted == own {
            return Ok(input);
        }
        input.f_to_device_(self.device, wanted, false, false)
    }

    /// An output in memory, as it is declared if the module computes on other numbers than it was saved with; none if it
    /// is there.
    pub(super) fn bring_back(
        &self,
        output: &Tensor,
        declared: Option<Datatype>,
    ) -> Result<Option<Tensor>, TchError> {
        if (self.device == tch::Device::Cpu && self.kind.is_none()) || !output.defined() {
            return Ok(None);
        }
        let own = output.f_kind()?;
        let declared = declared.map(kind).filter(|it| is_real(*it) && is_real(own));
        let wanted = declared.filter(|_| self.kind.is_some()).unwrap_or(own);
        output
            .f_to_device_(tch::Device::Cpu, wanted, false, false)
            .map(Some)
    }
}

fn is_real(kind: tch::Kind) -> bool {
    datatype(kind).is_some_and(Datatype::is_real)
}

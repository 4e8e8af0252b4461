//! Which device computes. The only file that names devices, and the features that bring them.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, bail};
use candle_core::Device;

/// What the user asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceChoice {
    /// A GPU where the program was built for one and one is found, else the CPU.
    #[default]
    Auto,
    Cpu,
    /// By number.
    Cuda(usize),
    Metal,
}

/// What computes.
#[derive(Debug, Clone)]
pub enum Chosen {
    /// Our own kernels.
    Cpu,
    /// What candle computes on.
    Gpu(Device),
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted =
            || format!("wanted `auto`, `cpu`, `cuda`, `cuda:1` or `metal`, found `{text}`");
        Ok(match text {
            "auto" => Self::Auto,
            "cpu" => Self::Cpu,
            "cuda" => Self::Cuda(0),
            "metal" => Self::Metal,
            _ => {
                let number = text.strip_prefix("cuda:").and_then(|number| number.parse().ok());
                Self::Cuda(number.ok_or_else(wanted)?)
            }
        })
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
            Self::Metal => f.write_str("metal"),
        }
    }
}

const HAS_CUDA: bool = cfg!(feature = "cuda");
const HAS_METAL: bool = cfg!(feature = "metal");

impl DeviceChoice {
    /// Finds the device.
    ///
    /// # Errors
    ///
    /// The one that was asked for by name is not there, or the program was not built for it.
    pub fn find(self) -> anyhow::Result<Chosen> {
        Ok(match self {
            Self::Auto if HAS_CUDA => Device::new_cuda(0).map_or(Chosen::Cpu, Chosen::Gpu),
            Self::Auto if HAS_METAL => Device::new_metal(0).map_or(Chosen::Cpu, Chosen::Gpu),
            Self::Auto | Self::Cpu => Chosen::Cpu,
            Self::Cuda(number) => {
                if !HAS_CUDA {
                    bail!(not_built_for("cuda"));
                }
                let found = Device::new_cuda(number);
                Chosen::Gpu(found.with_context(|| format!("no CUDA device {number} was found"))?)
            }
            Self::Metal => {
                if !HAS_METAL {
                    bail!(not_built_for("metal"));
                }
                Chosen::Gpu(Device::new_metal(0).context("no Metal device was found")?)
            }
        })
    }
}

impl DeviceChoice {
    /// Why `auto` is the CPU, where it is.
    pub fn why_cpu() -> &'static str {
        if HAS_CUDA || HAS_METAL {
            "CPU (this build can use a GPU, and none was found)"
        } else {
            "CPU (this build was made without CUDA and Metal)"
        }
    }
}

fn not_built_for(feature: &str) -> String {
    format!(
        "this program was built for the CPU alone, and `{feature}` was asked for\n\
         hint: build it with `cargo build --release --features {feature}`, or leave out `--device`"
    )
}

impl fmt::Display for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu | Self::Gpu(Device::Cpu) => f.write_str("CPU"),
            Self::Gpu(Device::Cuda(_)) => f.write_str("CUDA"),
            Self::Gpu(Device::Metal(_)) => f.write_str("Metal"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        let choices =
            [DeviceChoice::Auto, DeviceChoice::Cpu, DeviceChoice::Cuda(3), DeviceChoice::Metal];
        for choice in choices {
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
        assert_eq!("cuda".parse(), Ok(DeviceChoice::Cuda(0)));
        assert!("tpu".parse::<DeviceChoice>().unwrap_err().contains("found `tpu`"));
    }

    #[test]
    fn a_device_that_the_program_was_not_built_for_is_an_error_and_not_the_cpu() {
        for (choice, is_built, feature) in
            [(DeviceChoice::Cuda(0), HAS_CUDA, "cuda"), (DeviceChoice::Metal, HAS_METAL, "metal")]
        {
            if !is_built {
                let message = format!("{:#}", choice.find().unwrap_err());
                assert!(message.contains(&format!("--features {feature}")), "{message}");
            }
        }
        assert!(matches!(DeviceChoice::Cpu.find().unwrap(), Chosen::Cpu));
    }
}

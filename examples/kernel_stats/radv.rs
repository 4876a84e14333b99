//! RADV as a compiler: a Vulkan device without a card, whose pipelines report statistics
//! (`VK_KHR_pipeline_executable_properties`).

use std::collections::BTreeMap;
use std::ffi::CStr;

use ash::{Device, Entry, Instance, khr, vk};
use naga::back::spv;
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ValidationFlags, Validator};

use super::Result;

/// The driver, opened.
pub(crate) struct Radv {
    version: u32,
    f16: bool,
    device: Device,
    executables: khr::pipeline_executable_properties::Device,
    // The device is destroyed before what it was created from.
    _instance: Instance,
    _entry: Entry,
}

/// The compiler's report on a kernel.
pub(crate) struct Compiled {
    statistics: BTreeMap<String, u64>,
    /// The machine code.
    pub(crate) assembly: String,
}

impl Compiled {
    fn find(&self, name: &str) -> u64 {
        self.statistics.get(name).copied().unwrap_or_default()
    }

    /// Vector registers of an invocation.
    pub(crate) fn vgprs(&self) -> u64 {
        self.find("VGPRs")
    }

    /// Bytes of workgroup memory.
    pub(crate) fn lds(&self) -> u64 {
        self.find("LDS size")
    }

    /// Subgroups that fit on a SIMD at once.
    pub(crate) fn waves(&self) -> u64 {
        self.find("Subgroups per SIMD")
    }

    /// Vector registers that were spilled, and bytes of memory used in their place. (Spilled scalar
    /// ones are kept in lanes of vector registers, which costs next to nothing.)
    pub(crate) fn spills(&self) -> u64 {
        self.find("Spilled VGPRs") + self.find("Scratch size")
    }
}

impl Radv {
    /// Opens the first device of the driver that the environment names.
    pub(crate) fn open() -> Result<Self> {
        // SAFETY: the loader is the system's, and no other thread changes the environment.
        let entry = unsafe { Entry::load() }?;
        let app = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_3);
        let info = vk::InstanceCreateInfo::default().application_info(&app);
        // SAFETY: `info` lives until the call returns, and what it points to with it. This holds for
        // every structure below.
        let instance = unsafe { entry.create_instance(&info, None) }?;
        // SAFETY: as above.
        let physical = unsafe { instance.enumerate_physical_devices() }?;
        let physical = *physical.first().ok_or("the driver has no device")?;
        // SAFETY: the handle is the instance's.
        let properties = unsafe { instance.get_physical_device_properties(physical) };
        let version = properties.driver_version;

        let mut has12 = vk::PhysicalDeviceVulkan12Features::default();
        let mut has = vk::PhysicalDeviceFeatures2::default().push_next(&mut has12);
        // SAFETY: the handle is the instance's.
        unsafe { instance.get_physical_device_features2(physical, &mut has) };
        let f16 = has12.shader_float16 == vk::TRUE;

        let priorities = [1.0];
        let queues = [vk::DeviceQueueCreateInfo::default()
            .queue_family_index(0)
            .queue_priorities(&priorities)];
        let extensions = [khr::pipeline_executable_properties::NAME.as_ptr()];
        let mut executables = vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default()
            .pipeline_executable_info(true);
        let mut v11 =
            vk::PhysicalDeviceVulkan11Features::default().storage_buffer16_bit_access(f16);
        let mut v12 = vk::PhysicalDeviceVulkan12Features::default()
            .vulkan_memory_model(true)
            .vulkan_memory_model_device_scope(true)
            .shader_float16(f16);
        let info = vk::DeviceCreateInfo::default()
            .queue_create_infos(&queues)
            .enabled_extension_names(&extensions)
            .push_next(&mut executables)
            .push_next(&mut v11)
            .push_next(&mut v12);
        // SAFETY: as above.
        let device = unsafe { instance.create_device(physical, &info, None) }?;
        let executables = khr::pipeline_executable_properties::Device::new(&instance, &device);
        Ok(Self { version, f16, device, executables, _instance: instance, _entry: entry })
    }

    /// The driver and its version.
    pub(crate) fn driver(&self) -> String {
        let v = self.version;
        let parts = [vk::api_version_major(v), vk::api_version_minor(v), vk::api_version_patch(v)];
        format!("RADV of Mesa {}.{}.{}", parts[0], parts[1], parts[2])
    }

    /// Whether it has 16-bit floats.
    pub(crate) fn has_f16(&self) -> bool {
        self.f16
    }

    /// Compiles a kernel as wgpu would on hardware: without runtime checks.
    pub(crate) fn compile(&self, kernel: &str, source: &str) -> Result<Compiled> {
        let (words, bindings) = spirv(kernel, source)?;
        let binding = |i| {
            vk::DescriptorSetLayoutBinding::default()
                .binding(i)
                .descriptor_type(vk::DescriptorType::STORAGE_BUFFER)
                .descriptor_count(1)
                .stage_flags(vk::ShaderStageFlags::COMPUTE)
        };
        let bindings: Vec<_> = (0..bindings).map(binding).collect();
        let info = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
        // SAFETY: the objects are this device's, are used by nothing that runs, and are destroyed below
        // in the order in which they depend on each other.
        unsafe {
            let set = self.device.create_descriptor_set_layout(&info, None)?;
            let sets = [set];
            let info = vk::PipelineLayoutCreateInfo::default().set_layouts(&sets);
            let layout = self.device.create_pipeline_layout(&info, None)?;
            let info = vk::ShaderModuleCreateInfo::default().code(&words);
            let module = self.device.create_shader_module(&info, None)?;
            let stage = vk::PipelineShaderStageCreateInfo::default()
                .stage(vk::ShaderStageFlags::COMPUTE)
                .module(module)
                .name(c"main");
            let info = vk::ComputePipelineCreateInfo::default()
                .flags(
                    vk::PipelineCreateFlags::CAPTURE_STATISTICS_KHR
                        | vk::PipelineCreateFlags::CAPTURE_INTERNAL_REPRESENTATIONS_KHR,
                )
                .stage(stage)
                .layout(layout);
            let made =
                self.device.create_compute_pipelines(vk::PipelineCache::null(), &[info], None);
            let pipeline = made.map_err(|(_, error)| format!("{kernel}: {error}"))?[0];
            let executable = vk::PipelineExecutableInfoKHR::default().pipeline(pipeline);
            let statistics = self.executables.get_pipeline_executable_statistics(&executable)?;
            let statistics = statistics.into_iter().map(|one| {
                let name = CStr::from_ptr(one.name.as_ptr()).to_string_lossy().into_owned();
                (name, one.value.u64)
            });
            let compiled = Compiled {
                statistics: statistics.collect(),
                assembly: self.assembly(&executable)?,
            };
            self.device.destroy_pipeline(pipeline, None);
            self.device.destroy_shader_module(module, None);
            self.device.destroy_pipeline_layout(layout, None);
            self.device.destroy_descriptor_set_layout(set, None);
            Ok(compiled)
        }
    }

    /// The machine code among the internal representations of a pipeline.
    fn assembly(&self, executable: &vk::PipelineExecutableInfoKHR<'_>) -> Result<String> {
        let read = self.executables.fp().get_pipeline_executable_internal_representations_khr;
        let device = self.executables.device();
        let mut count = 0;
        // SAFETY: the driver writes only the count if there is no array.
        unsafe { read(device, executable, &mut count, std::ptr::null_mut()) }.result()?;
        let mut found =
            vec![vk::PipelineExecutableInternalRepresentationKHR::default(); count as usize];
        // SAFETY: the array has `count` entries; without data pointers their sizes are written.
        unsafe { read(device, executable, &mut count, found.as_mut_ptr()) }.result()?;
        let mut texts: Vec<Vec<u8>> = found.iter().map(|one| vec![0; one.data_size]).collect();
        for (one, text) in found.iter_mut().zip(&mut texts) {
            one.p_data = text.as_mut_ptr().cast();
        }
        // SAFETY: each data pointer has room for as many bytes as its entry says.
        unsafe { read(device, executable, &mut count, found.as_mut_ptr()) }.result()?;
        for (one, text) in found.iter().zip(texts) {
            // SAFETY: names are C strings within their arrays.
            let name = unsafe { CStr::from_ptr(one.name.as_ptr()) }.to_string_lossy();
            if name.to_lowercase().contains("assembly") {
                return Ok(String::from_utf8_lossy(&text).trim_end_matches('\0').to_owned());
            }
        }
        Err("the driver shows no assembly".into())
    }
}

/// SPIR-V of a kernel, and its number of buffer bindings.
fn spirv(kernel: &str, source: &str) -> Result<(Vec<u32>, u32)> {
    let module = naga::front::wgsl::parse_str(source)
        .map_err(|error| error.emit_to_string_with_path(source, kernel))?;
    let info = Validator::new(ValidationFlags::all(), Capabilities::all())
        .validate(&module)
        .map_err(|error| error.emit_to_string_with_path(source, kernel))?;
    let unchecked = BoundsCheckPolicy::Unchecked;
    let bounds_check_policies = BoundsCheckPolicies {
        index: unchecked,
        buffer: unchecked,
        image_load: unchecked,
        ..BoundsCheckPolicies::default()
    };
    let mut options = spv::Options {
        lang_version: (1, 3),
        bounds_check_policies,
        force_loop_bounding: false,
        zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
        ..spv::Options::default()
    };
    options.flags.remove(spv::WriterFlags::DEBUG);
    let words = spv::write_vec(&module, &info, &options, None)?;
    let bound = module.global_variables.iter().filter(|(_, global)| global.binding.is_some());
    Ok((words, bound.count() as u32))
}

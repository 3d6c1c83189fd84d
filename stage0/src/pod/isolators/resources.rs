//! Resource isolators as settings of systemd.resource-control(5): pure.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use stage1_skim::unit::Setting;

use super::quantity::Quantity;
use crate::image::manifest::fields::Fields;

/// The least memory that an app may be given, in bytes: a page.
const MEMORY_MIN: u64 = 4096;

/// The least CPU time, in thousandths of a core: the kernel takes no quota below 1 % of its
/// period.
const CPU_MIN: u64 = 10;

/// The most CPU time, in thousandths of a core: beyond any machine, and within systemd's
/// numbers.
const CPU_MAX: u64 = 100_000_000;

/// CPU shares of control groups v1 (cpu.shares).
const CPU_SHARES: std::ops::RangeInclusive<u64> = 2..=262_144;

/// `resource/memory`: `MemoryMax=`. The kernel has nothing like `request`, which is ignored.
pub fn memory(value: &Value) -> Result<Vec<Setting>> {
    let Some(limit) = limit(value)? else {
        return Ok(Vec::new());
    };
    let bytes = limit.units().context("value.limit: too large")?;
    ensure!(
        bytes >= MEMORY_MIN,
        "memory limit of {bytes} bytes too low (at least {MEMORY_MIN}; m means milli, M and Mi \
         are megabytes)"
    );
    Ok(vec![Setting::service("MemoryMax", bytes.to_string())])
}

/// `resource/cpu`: `CPUQuota=`, 100 % a core. `request` is ignored.
pub fn cpu(value: &Value) -> Result<Vec<Setting>> {
    let Some(limit) = limit(value)? else {
        return Ok(Vec::new());
    };
    let milli = limit.thousandths().filter(|milli| *milli <= CPU_MAX);
    let milli = milli.context("value.limit: too large")?;
    ensure!(
        milli >= CPU_MIN,
        "CPU limit of {milli} thousandths of a core too low (at least {CPU_MIN}m, 1 % of one)"
    );
    let percent = match (milli / 10, milli % 10) {
        (whole, 0) => format!("{whole}%"),
        (whole, tenth) => format!("{whole}.{tenth}%"),
    };
    // One % is no specifier here: systemd does not expand any in CPUQuota=.
    Ok(vec![Setting::service("CPUQuota", percent)])
}

/// `os/linux/cpu-shares`: `CPUWeight=` by systemd's own formula, which gives the usual 1024
/// shares the usual weight of 100.
pub fn cpu_shares(value: &Value) -> Result<Setting> {
    let shares = value.as_u64().filter(|shares| CPU_SHARES.contains(shares));
    let shares = shares.with_context(|| {
        let (least, most) = (CPU_SHARES.start(), CPU_SHARES.end());
        format!("the value is no integer from {least} to {most}")
    })?;
    let weight = (shares * 100 / 1024).clamp(1, 10_000);
    Ok(Setting::service("CPUWeight", weight.to_string()))
}

/// The limit, `None` where there is only a request.
fn limit(value: &Value) -> Result<Option<Quantity>> {
    let fields = Fields::new("value", value)?;
    ensure!(!fields.flag("default")?, "value.default: must be false");
    quantity(&fields, "request")?;
    quantity(&fields, "limit")
}

fn quantity(fields: &Fields<'_>, key: &str) -> Result<Option<Quantity>> {
    let text = match fields.value(key)? {
        None => return Ok(None),
        // appc's tools take a bare integer, too.
        Some(Value::Number(number)) if number.is_u64() => number.to_string(),
        Some(_) => fields.string(key)?.unwrap_or_default(),
    };
    let quantity = Quantity::parse(&text).with_context(|| fields.path_of(key));
    quantity.map(Some)
}

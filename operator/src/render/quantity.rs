//! Quantities of bytes.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// `quantity` as a whole number of bytes, rounded up; `None` when it is not one or does not fit.
///
/// <https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>
pub(super) fn bytes(quantity: &Quantity) -> Option<u64> {
    u64::try_from(thousandths(&quantity.0)?.checked_add(999)? / 1000).ok()
}

/// Whether two texts are the same quantity, written differently: `1024Mi` and `1Gi`.
pub(crate) fn same(left: &str, right: &str) -> bool {
    match (thousandths(left), thousandths(right)) {
        (Some(left), Some(right)) => left == right,
        _ => false,
    }
}

/// The quantity in thousandths. Finer ones do not occur in what is rendered here.
fn thousandths(text: &str) -> Option<i128> {
    let end = text
        .find(|letter: char| !letter.is_ascii_digit() && letter != '.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let scale: i128 = match suffix {
        "m" => 1,
        "" => 1000,
        "k" => 1_000_000,
        "M" => 1_000_000_000,
        "G" => 1_000_000_000_000,
        "T" => 1_000_000_000_000_000,
        "P" => 1_000_000_000_000_000_000,
        "Ki" => 1000 << 10,
        "Mi" => 1000 << 20,
        "Gi" => 1000 << 30,
        "Ti" => 1000 << 40,
        "Pi" => 1000 << 50,
        exponent => {
            let power: u32 = exponent.strip_prefix(['e', 'E'])?.parse().ok()?;
            10_i128.checked_pow(power)?.checked_mul(1000)?
        }
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.len() > 9 {
        return None;
    }
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let divisor = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let scaled = digits.checked_mul(scale)?;
    (scaled % divisor == 0).then_some(scaled / divisor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_every_notation() {
        for (text, expected) in [
            ("256Mi", 268_435_456),
            ("1Gi", 1 << 30),
            ("1.5Gi", 3 << 29),
            ("128M", 128_000_000),
            ("1e3", 1000),
            ("1234", 1234),
            ("1500m", 2),
        ] {
            assert_eq!(bytes(&Quantity(text.into())), Some(expected), "{text}");
        }
        for wrong in [
            "",
            "Mi",
            "-1",
            "1X",
            "1 Mi",
            "1.2.3",
            "99999999999999999999999999999999999999999Gi",
        ] {
            assert_eq!(bytes(&Quantity(wrong.into())), None, "{wrong}");
        }
    }

    #[test]
    fn the_same_quantity_may_be_written_differently() {
        assert!(same("1024Mi", "1Gi"));
        assert!(same("0.5", "500m"));
        assert!(!same("1G", "1Gi"));
        assert!(!same("always", "always"));
    }
}

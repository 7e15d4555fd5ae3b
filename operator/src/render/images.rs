//! Which image pods run whose resource names none: the operator's, or the one that they began with.

use berth_crds::api::ImagePolicy;

use super::Defaults;

/// The images that the pods of a resource began with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pins {
    /// That of the service.
    pub service: Option<String>,
    /// That of the managed Redis.
    pub redis: Option<String>,
}

/// What is known of the pods of a Deployment or StatefulSet.
#[derive(Clone, Copy, Debug, Default)]
pub struct Running<'a> {
    /// Its annotation [`crate::names::DEFAULT_IMAGE`].
    pub default: Option<&'a str>,
    /// The image that it runs, or, where there is none, the last that it ran as far as the status tells.
    pub image: Option<&'a str>,
}

impl Running<'_> {
    /// The image that the pods began with. `named`: the one that the resource names now. What runs says something only without it: versions
    /// that wrote no annotation ran the default then.
    pub fn pin(self, named: Option<&String>) -> Option<String> {
        let began = self.default.or(self.image.filter(|_| named.is_none()));
        began.map(str::to_owned)
    }
}

impl Defaults {
    /// The defaults for a resource whose pods began with `pins`.
    #[must_use]
    pub fn under(&self, policy: ImagePolicy, pins: Pins) -> Self {
        let mut defaults = self.clone();
        if policy == ImagePolicy::Pinned {
            defaults.image = pins.service.unwrap_or(defaults.image);
            defaults.redis_image = pins.redis.unwrap_or(defaults.redis_image);
        }
        defaults
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::PullPolicy;

    fn defaults() -> Defaults {
        Defaults {
            image: "berth:2".into(),
            redis_image: "redis:2".into(),
            coturn_image: "coturn:2".into(),
            image_pull_policy: PullPolicy::Never,
            image_pull_secrets: Vec::new(),
        }
    }

    #[test]
    fn pinned_pods_stay_and_others_follow() {
        let pins = Pins {
            service: Some("berth:1".into()),
            redis: None,
        };
        let pinned = defaults().under(ImagePolicy::Pinned, pins.clone());
        assert_eq!((&*pinned.image, &*pinned.redis_image), ("berth:1", "redis:2"));
        assert_eq!(defaults().under(ImagePolicy::FollowOperator, pins), defaults());
        assert_eq!(defaults().under(ImagePolicy::Pinned, Pins::default()), defaults());
    }

    #[test]
    fn an_image_that_was_named_for_a_while_is_not_what_pods_began_with() {
        let named = "mine:1".to_owned();
        let running = |default, image| Running { default, image };
        let pin = |running: Running<'_>, named| running.pin(named);
        assert_eq!(pin(running(None, Some("berth:1")), None).unwrap(), "berth:1");
        assert_eq!(pin(running(None, Some("mine:1")), Some(&named)), None);
        assert_eq!(
            pin(running(Some("berth:1"), Some("mine:1")), None).unwrap(),
            "berth:1"
        );
        assert_eq!(
            pin(running(Some("berth:1"), Some("mine:1")), Some(&named)).unwrap(),
            "berth:1"
        );
        assert_eq!(pin(Running::default(), None), None);
    }
}

//! The HorizontalPodAutoscaler as kube-controller-manager runs it
//! (`pkg/controller/podautoscaler`, autoscaling/v2).

pub(crate) mod arithmetic;
pub(crate) mod behavior;
pub(crate) mod controller;
pub(crate) mod settings;

// Package deployments keeps the files of deployments/ right: that they parse, that they name only settings and metrics that
// the real binary has, that images are pinned and drains have their time, and that both balancers do with real nodes behind
// them what their configuration says.
package deployments

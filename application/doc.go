// Package application conducts: each use case opens its unit of work, calls the rule of the domain and owns every
// guarantee of order, retry, replay and drain. It depends on ports and domain alone.
package application

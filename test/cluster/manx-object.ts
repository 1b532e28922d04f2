/** An object of ours as the API server takes it. */
export const manx = (kind: string, name: string, spec: object) => ({
	apiVersion: 'manx.dev/v1',
	kind,
	metadata: { name },
	spec,
});

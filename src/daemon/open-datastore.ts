import { readFileSync } from 'node:fs';
import type { Kind } from '../api/objects.ts';
import type { Settings } from '../config.ts';
import type { Datastore } from '../datastore/datastore.ts';
import { createDirectoryDatastore } from '../datastore/directory.ts';
import { createApiServer } from '../datastore/kubernetes/api-server.ts';
import { createKubernetesClient, type KubernetesClient } from '../datastore/kubernetes/client.ts';
import { createCredentials } from '../datastore/kubernetes/credentials.ts';
import { clock, createKubernetesDatastore } from '../datastore/kubernetes/kubernetes.ts';
import { createSecretSource, type SecretSource } from '../datastore/kubernetes/secrets.ts';
import type { Logger } from '../logging.ts';

/** The datastore a daemon was set to, and what else Kubernetes offers it. */

export type OpenedDatastore = {
	readonly datastore: Datastore;
	/** Only with Kubernetes. */
	readonly client: KubernetesClient | undefined;
	/** Secrets of the namespace the daemons run in, by name; only with Kubernetes. */
	readonly secrets?: (changed: () => void) => SecretSource;
	/** For people. */
	readonly source: string;
};

/** What each daemon reads of a cluster: no more than its service account is allowed to. */
const kinds: Readonly<Record<'felix' | 'bird', readonly Kind[]>> = {
	felix: ['Node', 'Pod', 'Namespace', 'NetworkPolicy', 'BGPConfiguration'],
	bird: ['Node', 'BGPConfiguration', 'BGPPeer', 'BGPFilter', 'BFDProfile', 'Service', 'EndpointSlice'],
};

/** A pod's own, else where the manifests put it. */
const ownNamespace = (): string => {
	try {
		return readFileSync('/var/run/secrets/kubernetes.io/serviceaccount/namespace', 'utf8').trim() || 'kube-system';
	} catch {
		return 'kube-system';
	}
};

export const openDatastore = (name: 'felix' | 'bird', settings: Settings, log: Logger): OpenedDatastore => {
	const { datastore } = settings;
	if (datastore.kind === 'directory') {
		const { path } = datastore;
		return { datastore: createDirectoryDatastore({ path, log }), client: undefined, source: path };
	}
	const api = createApiServer(createCredentials(datastore.kubeconfig));
	return {
		datastore: createKubernetesDatastore({ api, kinds: kinds[name], log: log.child({ part: 'datastore' }) }),
		client: createKubernetesClient({ api, component: `manx-${name}`, nodeName: settings.nodeName }),
		secrets: (changed) =>
			createSecretSource({ api, namespace: ownNamespace(), log: log.child({ part: 'secrets' }), clock, changed }),
		source: 'the Kubernetes API',
	};
};

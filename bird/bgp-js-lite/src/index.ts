export { asPathLength } from './as-path.ts';
export {
	AS_TRANS,
	ATTRIBUTE,
	CAPABILITY,
	CEASE,
	ERROR_CODE,
	FLAG,
	FSM_ERROR,
	HEADER_ERROR,
	HEADER_LENGTH,
	MAX_EXTENDED_MESSAGE_LENGTH,
	MAX_MESSAGE_LENGTH,
	OPEN_ERROR,
	UPDATE_ERROR,
} from './constants.ts';
export { decodeShutdownMessage, describeNotification } from './describe-notification.ts';
export { encodeEndOfRib, encodeUpdates, type UpdateToEncode } from './encode-update.ts';
export { createFramer, type Framer } from './framer.ts';
export { withHeader as encodeFrame } from './header.ts';
export { decodeMessage, encodeMessage } from './message.ts';
export { familyKey } from './nlri.ts';
export { encodeShutdownMessage, hardReset, notificationFor } from './notification.ts';
export type * from './types.ts';
export { AFI, MESSAGE_TYPE, SAFI } from './types.ts';

/** Failures of decoding, as values. */

import { ERROR_CODE, UPDATE_ERROR } from './constants.ts';
import type { Decoded, DecodeError } from './types.ts';

const NONE = new Uint8Array(0);

export const decodeError = (
	action: DecodeError['action'],
	code: number,
	subcode: number,
	message: string,
	data: Uint8Array = NONE,
): DecodeError => ({ action, code, subcode, data, message });

export const succeed = <T>(value: T): Decoded<T> => ({ ok: true, value });

export const fail = (error: DecodeError): { readonly ok: false; readonly error: DecodeError } => ({ ok: false, error });

/** The session cannot go on: the bytes after the error have no certain meaning. */
export const reset = (code: number, subcode: number, message: string, data?: Uint8Array): DecodeError =>
	decodeError('sessionReset', code, subcode, message, data);

/** An UPDATE whose fields do not add up (RFC 4271 §6.3). */
export const malformedList = (message: string): DecodeError =>
	reset(ERROR_CODE.update, UPDATE_ERROR.malformedAttributeList, message);

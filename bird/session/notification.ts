import { CEASE, ERROR_CODE } from 'bgp-js-lite';

/** What a NOTIFICATION says (RFC 4271 §4.5). */
export type Notification = { readonly code: number; readonly subcode: number; readonly data: Uint8Array };

const noData = new Uint8Array(0);

export const notification = (code: number, subcode: number, data: Uint8Array = noData): Notification => ({
	code,
	subcode,
	data,
});

export const cease = (subcode: number, data?: Uint8Array): Notification =>
	notification(ERROR_CODE.cease, subcode, data);

/** RFC 8538 §3.1: nothing is to be kept for a restart. */
export const isHardReset = (value: Notification): boolean =>
	value.code === ERROR_CODE.cease && value.subcode === CEASE.hardReset;

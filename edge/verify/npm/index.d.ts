/** Which signature was checked. */
export type Scheme = "standard-webhooks" | "screenshotone" | "screenshotmax";

/**
 * Why a webhook was refused:
 * - `missing_signature`: none of the signature headers is there; whoever sent this has no secret.
 * - `missing_header`: `webhook-signature` came without `webhook-id` or `webhook-timestamp`.
 * - `malformed_header`: a timestamp that is not plain digits, or a vendor signature that is not 64 hex digits.
 * - `timestamp_too_old`: played again, delayed beyond the tolerance, or a clock is off.
 * - `timestamp_too_new`: a clock is off.
 * - `wrong_signature`: another secret, or not the raw body.
 * - `no_secret`: the secrets given here are all empty.
 */
export type VerificationCode =
  | "missing_signature"
  | "missing_header"
  | "malformed_header"
  | "timestamp_too_old"
  | "timestamp_too_new"
  | "wrong_signature"
  | "no_secret";

export interface Verified {
  scheme: Scheme;
  /** The same on every retry of one delivery: remember it to process each delivery once. Null in the vendors' schemes. */
  id: string | null;
  /** Unix seconds of this attempt. Null in the vendors' schemes, which cannot tell an old delivery played again. */
  timestamp: number | null;
}

export interface VerifyOptions {
  /** How far the timestamp may be from now, either way; 300 if not given. */
  toleranceSeconds?: number;
  /** Unix seconds; the clock's if not given. */
  now?: number;
}

/** Anything with a `get` of lower-case names, as `Headers` has. */
export interface HeaderGetter {
  get(name: string): string | null | undefined;
}

export class WebhookVerificationError extends Error {
  readonly name: "WebhookVerificationError";
  readonly code: VerificationCode;
  private constructor();
}

/**
 * Checks a webhook's signature, in constant time, and its age.
 *
 * @param rawBody The body exactly as it arrived. A body that was parsed and written again has other bytes.
 * @param headers The request's headers; names in any case.
 * @param secret The key's secret, or all that are live while it is being rotated; the plain one or its `whsec_…` form.
 * @throws {WebhookVerificationError} when the webhook must not be trusted.
 * @throws {TypeError} when an argument is of the wrong type.
 */
export function verify(
  rawBody: Uint8Array | ArrayBuffer | string,
  headers: HeaderGetter | Record<string, string | string[] | undefined>,
  secret: string | readonly string[],
  options?: VerifyOptions,
): Verified;

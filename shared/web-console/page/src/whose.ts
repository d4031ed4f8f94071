// Whose token it is, as the token says. Nobody checks it here: the API does, at every request.

export interface Whose {
  /** What the API takes for the user. */
  sub: string;
  /** How people would call them, if the token tells. */
  name?: string;
}

/** Nothing if it is no JWT. */
export function whose(token: string): Whose | undefined {
  try {
    const part = token.split(".")[1]!.replace(/-/g, "+").replace(/_/g, "/");
    const bytes = Uint8Array.from(atob(part), (character) => character.charCodeAt(0));
    const claims = JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown>;
    if (typeof claims.sub !== "string") {
      return undefined;
    }
    const name = [claims.name, claims.email].find((claim) => typeof claim === "string" && claim.trim() !== "");
    return { sub: claims.sub, name: name as string | undefined };
  } catch {
    return undefined;
  }
}

/** The name with what tells apart two of the same name. */
export function called(token: string): string {
  const user = whose(token);
  return user === undefined ? "an unknown user" : user.name === undefined ? user.sub : `${user.name} (${user.sub})`;
}

/** Whether both are surely the same user's. */
export function isSameUser(one: string, other: string): boolean {
  const sub = whose(one)?.sub;
  return one === other || (sub !== undefined && sub === whose(other)?.sub);
}

/**
 * An error as the platform throws it: named by a code.
 */
export const errnoError = (
  syscall: string,
  code: string,
  where: string,
  message?: string | undefined
): Error => Object.assign(new Error(message ?? `${syscall} ${code} ${where}`), { code, syscall })

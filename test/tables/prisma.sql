-- As Prisma 7 documents the migration of `model User { id Int @id @default(autoincrement()), email String @unique, name String? }`.
-- `prisma migrate` downloads its engine when it runs, so this was written by hand.

-- CreateTable
CREATE TABLE "User" (
    "id" SERIAL NOT NULL,
    "email" TEXT NOT NULL,
    "name" TEXT,

    CONSTRAINT "User_pkey" PRIMARY KEY ("id")
);

-- CreateIndex
CREATE UNIQUE INDEX "User_email_key" ON "User"("email");
